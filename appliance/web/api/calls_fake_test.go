package api

import (
	"context"
	"time"
)

func (f *fake) EndedCalls(_ context.Context, q CallQuery) ([]EndedCall, error) {
	if f.empty || f.err != nil {
		return nil, f.err
	}
	leg := LegQuality{Side: "phone", Codec: "PCMA", Received: 980, Lost: 20, JitterMS: 3.2, RoundTrip: 0.4, Bursts: 1, MOS: 4.2, HeardBy: "rtcp", HeardLoss: 0.01, HeardMOS: 4}
	var out []EndedCall
	for i := range 3 {
		e := EndedCall{
			ID: "c" + string(rune('0'+i)), From: Party{MAC: known, Number: "201", Name: "Anna\x1b[2J"}, To: Party{Number: "+4930555"}, Dialled: "030555", Via: "gateway",
			Start: at.Add(-time.Duration(i) * time.Minute), Answered: at.Add(-time.Duration(i)*time.Minute + time.Second), End: at.Add(time.Hour), Status: 200, Reason: "no audio arrived", Emergency: i == 1,
			A: leg, B: LegQuality{Side: "gateway"},
		}
		if (q.Before.IsZero() || e.Start.Before(q.Before)) && (q.MAC.IsZero() || q.MAC == known) && len(out) < q.Limit {
			out = append(out, e)
		}
	}
	return out, nil
}
