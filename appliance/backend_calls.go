package appliance

import (
	"context"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/sipedge"
)

// EndedCalls implements [api.Calls].
func (b backend) EndedCalls(ctx context.Context, q api.CallQuery) ([]api.EndedCall, error) {
	records, err := b.a.db.Calls().List(ctx, q.MAC, q.Before, q.Limit)
	out := make([]api.EndedCall, 0, len(records))
	for _, r := range records {
		out = append(out, api.EndedCall{
			ID: r.ID, From: party(r.From), To: party(r.To), Dialled: r.Dialled, Via: r.Via,
			Start: r.Start, Answered: r.Answered, End: r.End, Status: r.Status, Reason: story.Reason(r.Reason).Words(), Emergency: r.Emergency,
			A: legQuality(r.A, r.From, r.Via), B: legQuality(r.B, r.To, r.Via),
		})
	}
	return out, err
}

func legQuality(q sipedge.LegQuality, p sipedge.Party, via string) api.LegQuality {
	side := "phone"
	if p.Account.MAC.IsZero() && via == "gateway" {
		side = "gateway"
	}
	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return api.LegQuality{
		Side: side, Codec: q.Codec, Received: q.Received, Lost: q.Lost, JitterMS: millis(q.Jitter), RoundTrip: millis(q.RoundTrip),
		Bursts: q.Bursts, MOS: q.MOS, HeardBy: q.Reported.By, HeardLoss: q.Reported.Loss, HeardMOS: q.Reported.MOS,
	}
}
