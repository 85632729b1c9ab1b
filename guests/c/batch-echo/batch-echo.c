// Sends every message back: to the subject in its `reply-to`, or to `echo.out` when it has none. What `echo` does, with contract 3.

#define MILLPOND_IMPLEMENTATION
#include "millpond.h"

bool millpond_handle(const millpond_batch_t *batch, millpond_answer_t *answer) {
  for (uint32_t i = 0; i < batch->count; i++) {
    millpond_message_t message = millpond_message(batch, i);
    if (millpond_reply(answer, &message, message.payload)) continue;
    millpond_send_t send = {.subject = millpond_text("echo.out"), .payload = message.payload};
    millpond_send(answer, &message, send);
  }
  return true;
}
