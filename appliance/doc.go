// Package appliance is the wiring: it reads the configuration, builds every
// package of the box once, hands each what it asked for, and runs their
// tasks until the context ends.
//
// What crosses packages in a type of one of them is translated in adapt.go.
// The package holds no logic of a protocol.
package appliance
