// Message handlers for Millpond's batch contract, `millpond:batch@0.1.0`, in C.
//
// A handler is a function that is called with a batch and says what becomes of it. What it does not settle is acknowledged; what it
// sends goes out once the call has succeeded, and counts as sent for the message that it names.
//
//     #define MILLPOND_IMPLEMENTATION  // in one file of a component
//     #include "millpond.h"
//
//     bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer) {
//       for (uint32_t i = 0; i < batch->count; i++) {
//         millpond_message_t message = millpond_message(batch, i);
//         if (!millpond_reply(answer, &message, message.payload)) millpond_term(answer, &message);
//       }
//       return true;
//     }
//
// Build it as a reactor for wasm32-wasi that imports nothing, then `wasm-tools component embed wit/millpond-batch-0.1.0 --world batch`
// and `wasm-tools component new`. Memory is the instance's, which ends with its call: nothing has to be freed.

#ifndef MILLPOND_H
#define MILLPOND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Bytes that somebody else owns.
typedef struct {
  const uint8_t *at;
  size_t size;
} millpond_bytes_t;

// The bytes of a string.
static inline millpond_bytes_t millpond_text(const char *text) {
  return (millpond_bytes_t){(const uint8_t *)text, strlen(text)};
}

// Whether two are the same.
static inline bool millpond_equal(millpond_bytes_t a, millpond_bytes_t b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

// The messages of a call: `count` of them, at least one.
typedef struct {
  uint32_t count;
  const uint8_t *arena_;
  const uint32_t *index_;
} millpond_batch_t;

// A message. Its parts lie in the batch.
typedef struct {
  // Its place in the batch, from 0.
  uint32_t place;
  // How many times it was delivered before this time and not handled.
  uint32_t attempts;
  // The subject that it was published to: UTF-8, unless a foreign publisher made it otherwise.
  millpond_bytes_t subject;
  // Where a reply goes; of size 0 if nobody waits for one.
  millpond_bytes_t reply_to;
  // Lines `name: value` that each end in CR LF: to be handed on as they are, or read with millpond_next_header.
  millpond_bytes_t headers;
  millpond_bytes_t payload;
} millpond_message_t;

enum { MILLPOND_ROW_ = 6 };

// The message at this place, which is less than the batch's count.
static inline millpond_message_t millpond_message(const millpond_batch_t *batch, uint32_t place) {
  const uint32_t *row = batch->index_ + (size_t)place * MILLPOND_ROW_;
  const uint8_t *subject = batch->arena_ + row[0];
  const uint8_t *reply_to = subject + row[1], *headers = reply_to + row[2], *payload = headers + row[3];
  return (millpond_message_t){
      .place = place,
      .attempts = row[5],
      .subject = {subject, row[1]},
      .reply_to = {reply_to, row[2]},
      .headers = {headers, row[3]},
      .payload = {payload, row[4]},
  };
}

// Takes the next header off `headers`, a copy of a message's; false if there is none.
static inline bool millpond_next_header(millpond_bytes_t *headers, millpond_bytes_t *name, millpond_bytes_t *value) {
  const uint8_t *line = headers->at;
  const uint8_t *end = headers->size ? memchr(line, '\n', headers->size) : NULL;
  if (end == NULL) return false;
  size_t size = (size_t)(end - line);
  headers->at = end + 1;
  headers->size -= size + 1;
  while (size > 0 && line[size - 1] == '\r') size--;
  const uint8_t *colon = size ? memchr(line, ':', size) : NULL;
  size_t length = colon == NULL ? size : (size_t)(colon - line);
  size_t from = colon == NULL ? size : length + 1;
  if (from < size && line[from] == ' ') from++;
  *name = (millpond_bytes_t){line, length};
  *value = (millpond_bytes_t){line + from, size - from};
  return true;
}

// A list that grows.
typedef struct {
  void *at;
  size_t size, room;
} millpond_list_t_;

// Headers that are being written, empty where it is zero.
//
//     millpond_headers_t headers = {0};
//     millpond_add_headers(&headers, message.headers);  // those of a message, as they came
//     millpond_add_header(&headers, millpond_text("redacted"), millpond_text("yes"));
//     send.headers = millpond_headers(&headers);
typedef struct {
  millpond_list_t_ lines_;
} millpond_headers_t;

// What becomes of the messages of a call, and what is sent. A message of which nothing is said is acknowledged.
typedef struct {
  // Why the call failed, where the handler returns false: for a person to read.
  millpond_bytes_t error;
  uint32_t messages_, last_;
  bool unsorted_;
  // Bytes; numbers.
  millpond_list_t_ arena_, sends_;
  // Null until one is not the usual.
  uint32_t *outcomes_;
} millpond_answer_t;

// A send; what is left out is empty.
typedef struct {
  millpond_bytes_t subject, reply_to, headers, payload;
} millpond_send_t;

// Room for so many more bytes.
static inline void *millpond_room_(millpond_list_t_ *list, size_t bytes) {
  if (list->size + bytes > list->room) {
    list->room = 2 * list->room + bytes + 256;
    list->at = realloc(list->at, list->room);
    if (list->at == NULL) __builtin_trap();
  }
  void *at = (uint8_t *)list->at + list->size;
  list->size += bytes;
  return at;
}

static inline void millpond_append_(millpond_list_t_ *list, millpond_bytes_t bytes) {
  if (bytes.size > 0) memcpy(millpond_room_(list, bytes.size), bytes.at, bytes.size);
}

// Traps where there is one of these bytes.
static inline void millpond_none_of_(millpond_bytes_t text, const char *bytes) {
  for (size_t i = 0; i < text.size; i++)
    if (memchr(bytes, text.at[i], strlen(bytes)) != NULL) __builtin_trap();
}

// Adds a header. With a line break in it, or a colon in its name, the call traps: what lies behind would be read as another header, or as
// the value. The host checks the rest of the name, which has no white space or control character.
static inline void millpond_add_header(millpond_headers_t *headers, millpond_bytes_t name, millpond_bytes_t value) {
  millpond_none_of_(name, ":\r\n");
  millpond_none_of_(value, "\r\n");
  millpond_append_(&headers->lines_, name);
  millpond_append_(&headers->lines_, millpond_text(": "));
  millpond_append_(&headers->lines_, value);
  millpond_append_(&headers->lines_, millpond_text("\r\n"));
}

// Adds headers as a message has them.
static inline void millpond_add_headers(millpond_headers_t *headers, millpond_bytes_t lines) {
  millpond_append_(&headers->lines_, lines);
}

// What was added so far, as a send has it. It stays where it is until another is added.
static inline millpond_bytes_t millpond_headers(const millpond_headers_t *headers) {
  return (millpond_bytes_t){headers->lines_.at, headers->lines_.size};
}

static inline uint32_t millpond_put_(millpond_answer_t *answer, millpond_bytes_t bytes) {
  millpond_append_(&answer->arena_, bytes);
  return (uint32_t)bytes.size;
}

// Sends this for a message. The host checks its parts: one that can't be, such as a bad subject, fails the whole call.
static inline void millpond_send(millpond_answer_t *answer, const millpond_message_t *message, millpond_send_t send) {
  uint32_t row[MILLPOND_ROW_] = {message->place, (uint32_t)answer->arena_.size};
  row[2] = millpond_put_(answer, send.subject);
  row[3] = millpond_put_(answer, send.reply_to);
  row[4] = millpond_put_(answer, send.headers);
  row[5] = millpond_put_(answer, send.payload);
  memcpy(millpond_room_(&answer->sends_, sizeof row), row, sizeof row);
  answer->unsorted_ |= message->place < answer->last_;
  answer->last_ = message->place;
}

// Sends a payload where the message asks for a reply; whether it does.
static inline bool millpond_reply(millpond_answer_t *answer, const millpond_message_t *message, millpond_bytes_t payload) {
  if (message->reply_to.size == 0) return false;
  millpond_send(answer, message, (millpond_send_t){.subject = message->reply_to, .payload = payload});
  return true;
}

static inline void millpond_settle_(millpond_answer_t *answer, const millpond_message_t *message, uint32_t outcome) {
  if (answer->outcomes_ == NULL) answer->outcomes_ = calloc(answer->messages_, sizeof(uint32_t));
  if (answer->outcomes_ == NULL) __builtin_trap();
  answer->outcomes_[message->place] = outcome;
}

// The message is handled, which is what becomes of it anyway; what was said before is taken back.
static inline void millpond_ack(millpond_answer_t *answer, const millpond_message_t *message) {
  millpond_settle_(answer, message, 0);
}

// The message is to come again after so many milliseconds; 0: after the delay that its handler's limits say. That counts as an attempt,
// of which its handler has a number. What is sent for it is left out.
static inline void millpond_nak(millpond_answer_t *answer, const millpond_message_t *message, uint32_t delay_ms) {
  uint32_t most = ((uint32_t)1 << 30) - 1;
  millpond_settle_(answer, message, (delay_ms < most ? delay_ms : most) << 2 | 1);
}

// The message is given up on: it goes to the handler's dead letters, if there are any. What is sent for it goes out.
static inline void millpond_term(millpond_answer_t *answer, const millpond_message_t *message) {
  millpond_settle_(answer, message, 2);
}

// The handler, which the component's author writes. False if the call failed: nothing that it sent or said counts then.
bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer);

#ifdef MILLPOND_IMPLEMENTATION

// Lays the sends out again, in the order of their messages; those of one message as they were made.
static void millpond_sort_(millpond_answer_t *answer) {
  size_t rows = answer->sends_.size / (MILLPOND_ROW_ * sizeof(uint32_t));
  const uint32_t *row = answer->sends_.at;
  const uint8_t *bytes = answer->arena_.at;
  size_t *places = calloc((size_t)answer->messages_ + 1, sizeof(size_t));
  const uint32_t **sorted = calloc(rows, sizeof *sorted);
  if (places == NULL || sorted == NULL) __builtin_trap();
  for (size_t i = 0; i < rows; i++) places[row[i * MILLPOND_ROW_] + 1]++;
  for (size_t i = 1; i <= answer->messages_; i++) places[i] += places[i - 1];
  for (size_t i = 0; i < rows; i++, row += MILLPOND_ROW_) sorted[places[row[0]]++] = row;
  millpond_list_t_ arena = {0}, sends = {0};
  for (size_t i = 0; i < rows; i++) {
    uint32_t *to = millpond_room_(&sends, MILLPOND_ROW_ * sizeof(uint32_t));
    memcpy(to, sorted[i], MILLPOND_ROW_ * sizeof(uint32_t));
    size_t size = (size_t)to[2] + to[3] + to[4] + to[5];
    uint32_t start = (uint32_t)arena.size;
    memcpy(millpond_room_(&arena, size), bytes + to[1], size);
    to[1] = start;
  }
  answer->arena_ = arena;
  answer->sends_ = sends;
}

// `result<answer, string>` in memory.
typedef struct {
  uint32_t failed;
  const void *first;
  size_t first_size;
  const void *second;
  size_t second_size;
} millpond_returned_t_;

__attribute__((export_name("millpond:batch/handler@0.1.0#handle"))) const millpond_returned_t_ *
millpond_call_(const uint8_t *arena, size_t arena_size, const uint32_t *index, size_t index_size) {
  (void)arena_size;
  static millpond_returned_t_ returned;
  millpond_batch_t batch = {(uint32_t)(index_size / MILLPOND_ROW_), arena, index};
  millpond_answer_t answer = {.messages_ = batch.count};
  if (!millpond_handle(&batch, &answer)) {
    returned = (millpond_returned_t_){1, answer.error.at, answer.error.size, NULL, 0};
    return &returned;
  }
  if (answer.unsorted_) millpond_sort_(&answer);
  size_t outcomes = answer.outcomes_ == NULL ? 0 : batch.count;
  size_t numbers = 1 + outcomes + answer.sends_.size / sizeof(uint32_t);
  uint32_t *all = malloc(numbers * sizeof(uint32_t));
  if (all == NULL) __builtin_trap();
  all[0] = (uint32_t)outcomes;
  if (outcomes > 0) memcpy(all + 1, answer.outcomes_, outcomes * sizeof(uint32_t));
  if (answer.sends_.size > 0) memcpy(all + 1 + outcomes, answer.sends_.at, answer.sends_.size);
  returned = (millpond_returned_t_){0, answer.arena_.at, answer.arena_.size, all, numbers};
  return &returned;
}

__attribute__((export_name("cabi_realloc"))) void *
millpond_realloc_(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *new = realloc(old, size);
  if (new == NULL) __builtin_trap();
  return new;
}

#endif
#endif
