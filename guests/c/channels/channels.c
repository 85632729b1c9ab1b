// Three channels, each handled in its own way: one narrows what the guest listens to, one receives
// from a broker, one sends to it. Nothing is freed: the instance ends with the call.

#include <stdlib.h>
#include <string.h>

#include "messaging.h"

typedef wasi_messaging_messaging_types_error_t error_t;
typedef wasi_messaging_messaging_types_message_t message_t;
typedef wasi_messaging_messaging_types_guest_configuration_t configuration_t;

// The caller frees what `configure` returns, so the list is allocated too.
static void listen_to(configuration_t *configuration, const char **names, size_t count) {
  messaging_string_t *channels = malloc(count * sizeof *channels);
  if (channels == NULL) __builtin_trap();
  for (size_t i = 0; i < count; i++) messaging_string_dup(&channels[i], names[i]);
  configuration->channels.ptr = channels;
  configuration->channels.len = count;
  configuration->extensions.is_some = false;
}

static bool connect_to_broker(wasi_messaging_messaging_types_client_t *client, error_t *error) {
  messaging_string_t broker;
  messaging_string_set(&broker, "some-broker");
  return wasi_messaging_messaging_types_connect(&broker, client, error);
}

// Stops listening to channel `a`, and leaves the message to whoever still does.
static bool narrow(message_t *message, error_t *error) {
  configuration_t configuration;
  listen_to(&configuration, (const char *[]){"b", "c"}, 2);
  return wasi_messaging_consumer_update_guest_configuration(&configuration, error) &&
         wasi_messaging_consumer_abandon_message(message, error);
}

// Takes what is on channel `d`, if anything comes within 100 ms.
static bool receive(message_t *message, error_t *error) {
  wasi_messaging_messaging_types_client_t client;
  if (!connect_to_broker(&client, error)) return false;
  messaging_string_t channel;
  messaging_string_set(&channel, "d");
  wasi_messaging_consumer_option_list_message_t received;
  if (!wasi_messaging_consumer_subscribe_try_receive(client, &channel, 100, &received, error))
    return false;
  wasi_messaging_messaging_types_disconnect(client);
  return wasi_messaging_consumer_complete_message(message, error);
}

// Sends one message to channel `d`.
static bool send(message_t *message, error_t *error) {
  wasi_messaging_messaging_types_client_t client;
  if (!connect_to_broker(&client, error)) return false;
  messaging_string_t channel;
  messaging_string_set(&channel, "d");
  static char text[] = "hello from guest";
  message_t hello = {
      .data = {(uint8_t *)text, sizeof text - 1},
      .format = WASI_MESSAGING_MESSAGING_TYPES_FORMAT_SPEC_RAW,
      .metadata = {.is_some = false},
  };
  wasi_messaging_producer_list_message_t hellos = {&hello, 1};
  if (!wasi_messaging_producer_send(client, &channel, &hellos, error)) return false;
  wasi_messaging_messaging_types_disconnect(client);
  return wasi_messaging_consumer_complete_message(message, error);
}

static bool equals(const messaging_string_t *string, const char *text) {
  return string->len == strlen(text) && memcmp(string->ptr, text, string->len) == 0;
}

// The value of the message's first `channel`, or NULL.
static const messaging_string_t *channel_of(const message_t *message) {
  if (!message->metadata.is_some) return NULL;
  for (size_t i = 0; i < message->metadata.val.len; i++)
    if (equals(&message->metadata.val.ptr[i].f0, "channel")) return &message->metadata.val.ptr[i].f1;
  return NULL;
}

bool exports_wasi_messaging_messaging_guest_configure(
    exports_wasi_messaging_messaging_guest_guest_configuration_t *configuration,
    exports_wasi_messaging_messaging_guest_error_t *error) {
  (void)error;
  listen_to(configuration, (const char *[]){"a", "b", "c"}, 3);
  return true;
}

bool exports_wasi_messaging_messaging_guest_handler(
    exports_wasi_messaging_messaging_guest_list_message_t *messages,
    exports_wasi_messaging_messaging_guest_error_t *error) {
  for (size_t i = 0; i < messages->len; i++) {
    message_t *message = &messages->ptr[i];
    const messaging_string_t *channel = channel_of(message);
    if (channel == NULL) continue;
    if (equals(channel, "a") && !narrow(message, error)) return false;
    if (equals(channel, "b") && !receive(message, error)) return false;
    if (equals(channel, "c") && !send(message, error)) return false;
  }
  return true;
}
