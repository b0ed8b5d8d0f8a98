// Package sipedge is the SIP server of the site: the registrar that phones
// register to, the back-to-back user agent that their calls go through, and
// the upstream side towards the gateway.
//
// It does not know how phones get their configuration, who signs in, or
// where its data is stored. sipgo transports, parses and runs transactions;
// judging, registering, routing and calls are here.
package sipedge
