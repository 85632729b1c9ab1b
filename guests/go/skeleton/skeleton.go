// Package export_wasi_messaging_messaging_guest is the skeleton of a guest: it asks for one channel
// and accepts whatever comes. The generated bindings give the package its name.
package export_wasi_messaging_messaging_guest

import (
	. "wit_component/wasi_messaging_messaging_types"

	. "go.bytecodealliance.org/pkg/wit/types"
)

// Configure asks for one channel.
func Configure() Result[GuestConfiguration, Error] {
	return Ok[GuestConfiguration, Error](GuestConfiguration{
		Channels:   []string{"skeleton"},
		Extensions: None[[]Tuple2[string, string]](),
	})
}

// Handler accepts every message.
func Handler(messages []Message) Result[Unit, Error] {
	return Ok[Unit, Error](Unit{})
}
