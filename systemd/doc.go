// Package systemd is the box's side of the service manager: it says when the
// box is ready and when it stops, and feeds the watchdog while every loop of
// the box lives. Beside it lie the unit and what is installed with it.
//
// Without a service manager everything here does nothing.
package systemd
