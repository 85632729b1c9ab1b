// Greets whom a message names: as a reply if one is asked for, else on `greetings`.

#define MILLPOND_IMPLEMENTATION
#include "millpond.h"

// Writes `hello, NAME`.
static millpond_bytes_t greet(millpond_bytes_t name) {
  static const char hello[] = "hello, ";
  size_t size = sizeof hello - 1 + name.size;
  uint8_t *greeting = malloc(size);
  if (greeting == NULL) __builtin_trap();
  memcpy(greeting, hello, sizeof hello - 1);
  memcpy(greeting + sizeof hello - 1, name.at, name.size);
  // Memory is the instance's, which ends with its call.
  return (millpond_bytes_t){greeting, size};
}

// Called with a batch, in an instance that has seen no other. What is sent goes out once this has returned true.
bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer) {
  for (uint32_t i = 0; i < batch->count; i++) {
    millpond_message_t message = millpond_message(batch, i);
    if (message.payload.size == 0) {
      // Given up on: this one goes to the handler's dead letters, if it has any. The others are handled.
      millpond_term(answer, &message);
      continue;
    }
    millpond_bytes_t greeting = greet(message.payload);
    if (!millpond_reply(answer, &message, greeting))
      millpond_send(answer, &message, (millpond_send_t){.subject = millpond_text("greetings"), .payload = greeting});
  }
  return true;
}
