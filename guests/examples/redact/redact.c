// Takes what is private out of tickets, and fans them out. Contract 3, `millpond:batch/handler`, in C.
//
// A ticket is text. E-mail addresses become `[email]`, numbers of cards `[card]`: 13 to 19 digits, single spaces and hyphens between
// them allowed, whose check digit (Luhn's) is right. The rest is as it was. The text goes to `tickets.search` and `tickets.analytics`,
// with the headers it came with; where something was taken out, `tickets.audit` gets how much of each, in words and as headers.
//
// Text that is not UTF-8 is given up on: it goes to the handler's dead-letter subject, not on, since nobody can say what is in it.

#define MILLPOND_IMPLEMENTATION
#include "millpond.h"

#include <stdio.h>

enum {
  CARD_DIGITS_MIN = 13,
  CARD_DIGITS_MAX = 19,
  // Longer ones are none (RFC 5321), and are not looked through again and again.
  LOCAL_BYTES_MAX = 64,
  DOMAIN_BYTES_MAX = 255,
};

// A text that is being written, into memory that has room for it.
typedef struct {
  char *at;
  size_t size;
} text_t;

static void append(text_t *text, const void *bytes, size_t size) {
  memcpy(text->at + text->size, bytes, size);
  text->size += size;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool is_letter(uint8_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

static bool is_local(uint8_t c) { return is_letter(c) || is_digit(c) || (c != 0 && strchr("._%+-", c) != NULL); }

static bool is_domain(uint8_t c) { return is_letter(c) || is_digit(c) || c == '.' || c == '-'; }

// Whether the rest of these bytes begins with a character of UTF-8: its size, or 0.
static size_t character(const uint8_t *at, const uint8_t *end) {
  size_t size = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3 : *at >= 0xf0 && *at < 0xf5 ? 4 : 0;
  if ((size_t)(end - at) < size) return 0;
  for (size_t i = 1; i < size; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  // Longer than need be, halves of pairs, and beyond the last character.
  if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f)) return 0;
  if ((*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f)) return 0;
  return size;
}

static bool is_utf8(millpond_bytes_t bytes) {
  for (const uint8_t *at = bytes.at, *end = at + bytes.size; at < end;) {
    size_t size = character(at, end);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

// The size of the address that begins here, or 0: `local@domain`, with a dot in the domain and no dot at its end.
static size_t email(const uint8_t *at, const uint8_t *end) {
  const uint8_t *local = at;
  while (local < end && is_local(*local) && local - at < LOCAL_BYTES_MAX) local++;
  if (local == at || local == end || *local != '@') return 0;
  const uint8_t *domain = local + 1, *last = domain;
  while (last < end && is_domain(*last) && last - domain < DOMAIN_BYTES_MAX) last++;
  while (last > domain && !is_letter(last[-1]) && !is_digit(last[-1])) last--;
  return last > domain && memchr(domain, '.', (size_t)(last - domain)) != NULL ? (size_t)(last - at) : 0;
}

// The size of the card's number that begins here, or 0.
static size_t card(const uint8_t *at, const uint8_t *end) {
  uint8_t digits[CARD_DIGITS_MAX];
  size_t count = 0;
  const uint8_t *next = at, *last = at;
  while (next < end && is_digit(*next)) {
    if (count == CARD_DIGITS_MAX) return 0;
    digits[count++] = (uint8_t)(*next++ - '0');
    last = next;
    if (next < end && (*next == ' ' || *next == '-')) next++;
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t digit = digits[count - 1 - i] << (i & 1);
    sum += digit > 9 ? digit - 9 : digit;
  }
  return count >= CARD_DIGITS_MIN && sum % 10 == 0 ? (size_t)(last - at) : 0;
}

// Writes the text without what is private, and counts that.
static text_t redact(millpond_bytes_t from, uint32_t *emails, uint32_t *cards) {
  // The shortest address, `a@b.c`, is made two bytes longer; a card's number becomes shorter.
  text_t text = {malloc(2 * from.size + 1), 0};
  if (text.at == NULL) __builtin_trap();
  for (const uint8_t *at = from.at, *end = at + from.size; at < end;) {
    size_t size;
    if ((size = email(at, end)) > 0) {
      append(&text, "[email]", 7);
      ++*emails;
    } else if ((size = card(at, end)) > 0) {
      append(&text, "[card]", 6);
      ++*cards;
    } else {
      // Digits are passed over together: the end of a longer number is no card's.
      for (size = 1; is_digit(*at) && at + size < end && is_digit(at[size]);) size++;
      append(&text, at, size);
    }
    at += size;
  }
  return text;
}

static void add_number(millpond_headers_t *headers, const char *name, uint32_t number) {
  char text[16];
  snprintf(text, sizeof text, "%u", (unsigned)number);
  millpond_add_header(headers, millpond_text(name), millpond_text(text));
}

static void fan_out(millpond_answer_t *answer, const millpond_message_t *message) {
  uint32_t emails = 0, cards = 0;
  text_t text = redact(message->payload, &emails, &cards);
  millpond_send_t send = {.headers = message->headers, .payload = {(const uint8_t *)text.at, text.size}};
  static const char *const subjects[] = {"tickets.search", "tickets.analytics"};
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
    send.subject = millpond_text(subjects[i]);
    millpond_send(answer, message, send);
  }
  if (emails + cards == 0) return;
  millpond_headers_t headers = {0};
  millpond_add_headers(&headers, message->headers);
  add_number(&headers, "emails", emails);
  add_number(&headers, "cards", cards);
  char count[64];
  snprintf(count, sizeof count, "%u e-mails, %u cards", (unsigned)emails, (unsigned)cards);
  send.subject = millpond_text("tickets.audit");
  send.headers = millpond_headers(&headers);
  send.payload = millpond_text(count);
  millpond_send(answer, message, send);
}

bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer) {
  for (uint32_t i = 0; i < batch->count; i++) {
    millpond_message_t message = millpond_message(batch, i);
    if (is_utf8(message.payload)) {
      fan_out(answer, &message);
    } else {
      millpond_term(answer, &message);
    }
  }
  return true;
}
