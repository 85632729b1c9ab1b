// Package export_wasi_messaging_messaging_guest handles three channels, each in its own way: one
// narrows what the guest listens to, one receives from a broker, one sends to it. The generated
// bindings give the package its name.
package export_wasi_messaging_messaging_guest

import (
	consumer "wit_component/wasi_messaging_consumer"
	. "wit_component/wasi_messaging_messaging_types"
	producer "wit_component/wasi_messaging_producer"

	. "go.bytecodealliance.org/pkg/wit/types"
)

const broker = "some-broker"

// Configure asks for three channels.
func Configure() Result[GuestConfiguration, Error] {
	return Ok[GuestConfiguration, Error](listenTo("a", "b", "c"))
}

// Handler does for each message what its channel asks for.
func Handler(messages []Message) Result[Unit, Error] {
	for _, message := range messages {
		result := Ok[Unit, Error](Unit{})
		switch channelOf(message) {
		case "a":
			result = narrow(message)
		case "b":
			result = receive(message)
		case "c":
			result = send(message)
		}
		if result.IsErr() {
			return result
		}
	}
	return Ok[Unit, Error](Unit{})
}

// narrow stops listening to channel a, and leaves the message to whoever still does.
func narrow(message Message) Result[Unit, Error] {
	if result := consumer.UpdateGuestConfiguration(listenTo("b", "c")); result.IsErr() {
		return result
	}
	return consumer.AbandonMessage(message)
}

// receive takes what is on channel d, if anything comes within 100 ms.
func receive(message Message) Result[Unit, Error] {
	client := Connect(broker)
	if client.IsErr() {
		return Err[Unit, Error](client.Err())
	}
	if result := consumer.SubscribeTryReceive(client.Ok(), "d", 100); result.IsErr() {
		return Err[Unit, Error](result.Err())
	}
	Disconnect(client.Ok())
	return consumer.CompleteMessage(message)
}

// send sends one message to channel d.
func send(message Message) Result[Unit, Error] {
	client := Connect(broker)
	if client.IsErr() {
		return Err[Unit, Error](client.Err())
	}
	hello := Message{
		Data:     []byte("hello from guest"),
		Format:   FormatSpecRaw,
		Metadata: None[[]Tuple2[string, string]](),
	}
	if result := producer.Send(client.Ok(), "d", []Message{hello}); result.IsErr() {
		return result
	}
	Disconnect(client.Ok())
	return consumer.CompleteMessage(message)
}

// channelOf is the value of the message's first "channel", or nothing.
func channelOf(message Message) string {
	for _, pair := range message.Metadata.SomeOr(nil) {
		if pair.F0 == "channel" {
			return pair.F1
		}
	}
	return ""
}

func listenTo(channels ...string) GuestConfiguration {
	return GuestConfiguration{
		Channels:   channels,
		Extensions: None[[]Tuple2[string, string]](),
	}
}
