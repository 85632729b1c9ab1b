// The skeleton of a guest: it asks for one channel and accepts whatever comes.

#include <stdlib.h>

#include "messaging.h"

bool exports_wasi_messaging_messaging_guest_configure(
    exports_wasi_messaging_messaging_guest_guest_configuration_t *configuration,
    exports_wasi_messaging_messaging_guest_error_t *error) {
  (void)error;
  messaging_string_t *channel = malloc(sizeof *channel);
  if (channel == NULL) __builtin_trap();
  messaging_string_dup(channel, "skeleton");
  configuration->channels.ptr = channel;
  configuration->channels.len = 1;
  configuration->extensions.is_some = false;
  return true;
}

bool exports_wasi_messaging_messaging_guest_handler(
    exports_wasi_messaging_messaging_guest_list_message_t *messages,
    exports_wasi_messaging_messaging_guest_error_t *error) {
  (void)error;
  exports_wasi_messaging_messaging_guest_list_message_free(messages);
  return true;
}
