// Package export_wasi_messaging_messaging_guest counts visits of pages in windows of a minute. Contract 1, `wasi:messaging/messaging-guest`,
// in Go. The generated bindings give the package its name.
//
// A visit on `visits` is {"page": "/start", "at_ms": 1700000000123}: when it happened, in milliseconds since 1970. So the window that it
// counts in depends on the visit alone, whenever it is handled.
//
// Every call has a new instance, which remembers nothing: a call can only count the batch that it is given. It sends these partial counts
// to `visits.counted`, one a window and page, and whoever wants the count of a window adds them up: a database, or a program that lives
// longer than a call. A batch that is handled again is counted again, unless its delivery is effectively-once.
//
// What is no visit is abandoned: the host hands it on again and, after the last attempt, sends it to the handler's dead-letter subject.
// The others of its batch are counted.
package export_wasi_messaging_messaging_guest

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	consumer "wit_component/wasi_messaging_consumer"
	. "wit_component/wasi_messaging_messaging_types"
	producer "wit_component/wasi_messaging_producer"

	. "go.bytecodealliance.org/pkg/wit/types"
)

const (
	visits   = "visits"
	counted  = "visits.counted"
	windowMs = 60_000
)

// visit is what a message says.
type visit struct {
	Page string `json:"page"`
	AtMs *int64 `json:"at_ms"`
}

// cell is what is counted: a page in a window.
type cell struct {
	// WindowMs is when the window begins.
	WindowMs int64  `json:"window_ms"`
	Page     string `json:"page"`
}

// count is what is sent of a cell.
type count struct {
	cell
	Visits int `json:"visits"`
}

// Configure asks for the visits.
func Configure() Result[GuestConfiguration, Error] {
	return Ok[GuestConfiguration, Error](GuestConfiguration{
		Channels:   []string{visits},
		Extensions: None[[]Tuple2[string, string]](),
	})
}

// Handler counts a batch.
func Handler(messages []Message) Result[Unit, Error] {
	cells := map[cell]int{}
	for _, message := range messages {
		if found, err := read(message.Data); err == nil {
			cells[found]++
		} else if result := consumer.AbandonMessage(message); result.IsErr() {
			return result
		}
	}
	if len(cells) == 0 {
		return Ok[Unit, Error](Unit{})
	}
	return send(cells)
}

// read says where a visit counts.
func read(data []byte) (cell, error) {
	var v visit
	if err := json.Unmarshal(data, &v); err != nil {
		return cell{}, err
	}
	if v.Page == "" || v.AtMs == nil || *v.AtMs < 0 {
		return cell{}, errors.New("a visit has a page and a time")
	}
	return cell{WindowMs: *v.AtMs - *v.AtMs%windowMs, Page: v.Page}, nil
}

// send sends the counts, the earliest window first: the same batch gives the same messages.
func send(cells map[cell]int) Result[Unit, Error] {
	counts := make([]count, 0, len(cells))
	for c, n := range cells {
		counts = append(counts, count{c, n})
	}
	slices.SortFunc(counts, func(a, b count) int {
		return cmp.Or(cmp.Compare(a.WindowMs, b.WindowMs), cmp.Compare(a.Page, b.Page))
	})
	messages := make([]Message, len(counts))
	for i, c := range counts {
		data, err := json.Marshal(c)
		if err != nil {
			panic(err) // Numbers and a text can always be written.
		}
		messages[i] = Message{Data: data, Format: FormatSpecRaw, Metadata: None[[]Tuple2[string, string]]()}
	}
	client := Connect("default")
	if client.IsErr() {
		return Err[Unit, Error](client.Err())
	}
	defer Disconnect(client.Ok())
	return producer.Send(client.Ok(), counted, messages)
}
