package appliance

import (
	"context"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/sipedge"
)

// Wish implements api.Wishes.
func (b backend) Wish(_ context.Context, line int64) (api.Wish, error) {
	if _, ok := b.a.directory.Line(line); !ok {
		return api.Wish{}, api.ErrNotFound
	}
	return wish(b.a.settings.Of(line)), nil
}

// PutWish implements api.Wishes.
func (b backend) PutWish(ctx context.Context, line int64, w api.Wish) (api.Wish, error) {
	if _, ok := b.a.directory.Line(line); !ok {
		return api.Wish{}, api.ErrNotFound
	}
	if w.Number != "" {
		plan, _ := sipedge.NewDialPlan(b.a.cfg.Box.Country)
		number, err := plan.ForwardNumber(w.Number)
		if err != nil {
			return w, &api.Invalid{Field: "number", Text: err.Error()}
		}
		w.Number = number
	}
	l, err := b.a.settings.Change(ctx, line, func(l *sipedge.LineSettings) {
		*l = sipedge.LineSettings{
			DoNotDisturb: w.DoNotDisturb, Number: w.Number, Always: w.Always, NoAnswer: w.NoAnswer, Simultaneous: w.Simultaneous,
			After: time.Duration(w.After) * time.Second,
		}
	})
	return wish(l), b.audited(ctx, "line-calls", "line "+itoa(int(line)), "", err)
}

func wish(l sipedge.LineSettings) api.Wish {
	return api.Wish{
		DoNotDisturb: l.DoNotDisturb, Number: l.Number, Always: l.Always, NoAnswer: l.NoAnswer, Simultaneous: l.Simultaneous,
		After: int(l.After / time.Second),
	}
}
