// Does what its messages say, for the tests of the header: a payload is one word.
//
//     nak, term, ack, error       says so
//     pass                        sends the message on to `out`, with its headers and reply subject
//     names                       sends to `out` the names and values of its headers, each with a semicolon
//     head                        sends to `out`, with the headers that came, one of its own and one without a value
//     bad-name, bad-value, colon  the same with a header that can't be
//     twice                       sends to `out` an `a` and its place in the batch, the last message first

#define MILLPOND_IMPLEMENTATION
#include "millpond.h"

static bool says(const millpond_message_t *message, const char *word) {
  return millpond_equal(message->payload, millpond_text(word));
}

static void names(millpond_answer_t *answer, const millpond_message_t *message) {
  uint8_t text[256];
  size_t size = 0;
  millpond_bytes_t headers = message->headers, name, value;
  while (millpond_next_header(&headers, &name, &value)) {
    if (size + name.size + value.size + 2 > sizeof text) __builtin_trap();
    memcpy(text + size, name.at, name.size);
    text[size + name.size] = '=';
    memcpy(text + size + name.size + 1, value.at, value.size);
    size += name.size + value.size + 2;
    text[size - 1] = ';';
  }
  millpond_send_t send = {.subject = millpond_text("out"), .payload = {text, size}};
  millpond_send(answer, message, send);
}

// Sends with the headers that came and this one.
static void with_header(millpond_answer_t *answer, const millpond_message_t *message, const char *name, const char *value) {
  millpond_headers_t headers = {0};
  millpond_add_headers(&headers, message->headers);
  millpond_add_header(&headers, millpond_text(name), millpond_text(value));
  millpond_add_header(&headers, millpond_text("empty"), (millpond_bytes_t){0});
  millpond_send_t send = {.subject = millpond_text("out"), .headers = millpond_headers(&headers)};
  millpond_send(answer, message, send);
}

static void run(millpond_answer_t *answer, const millpond_message_t *message) {
  millpond_send_t send = {.subject = millpond_text("out")};
  if (says(message, "nak")) millpond_nak(answer, message, 1);
  if (says(message, "term")) millpond_term(answer, message);
  if (says(message, "ack")) millpond_ack(answer, message);
  if (says(message, "names")) names(answer, message);
  if (says(message, "head")) with_header(answer, message, "own", "a: b");
  if (says(message, "bad-name")) with_header(answer, message, "a b", "x");
  if (says(message, "colon")) with_header(answer, message, "a:b", "x");
  if (says(message, "bad-value")) with_header(answer, message, "own", "x\r\nforged: y");
  if (says(message, "pass")) {
    send.reply_to = message->reply_to;
    send.headers = message->headers;
    send.payload = message->payload;
    millpond_send(answer, message, send);
  }
  if (says(message, "twice")) {
    send.payload = millpond_text("a");
    millpond_send(answer, message, send);
    uint8_t place = (uint8_t)('0' + message->place % 10);
    send.payload = (millpond_bytes_t){&place, 1};
    millpond_send(answer, message, send);
  }
}

bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer) {
  for (uint32_t i = batch->count; i > 0; i--) {
    millpond_message_t message = millpond_message(batch, i - 1);
    if (says(&message, "error")) {
      answer->error = millpond_text("as it was told");
      return false;
    }
    run(answer, &message);
  }
  return true;
}
