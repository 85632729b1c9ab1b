//! The keys of limits: each is a key of the file, a field of the engine's limits and, for a handler's, a flag.
//!
//! Owns their names and what is said of them. What each may be is the engine's to say (`EngineConfig::validate`).

use millpond::{EngineLimits, HandlerLimits};

use super::values::{Count, Field, Keys, Layer, Size, Time, Value};

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name in the file. The flag has hyphens for its underscores.
    pub(crate) key: &'static str,
    /// The engine's field, which its errors name.
    pub(crate) field: &'static str,
    /// What `--help` says of it; the default comes last, in square brackets.
    #[cfg(test)]
    pub(crate) about: &'static str,
}

/// Keys that are fields of one of the engine's structs.
macro_rules! limits {
    ($(#[$about:meta])* $name:ident of $limits:ident {
        $($(#[doc = $doc:expr])* $(#[arg($($arg:tt)*)])? $key:ident: $kind:ty => $field:ident,)*
    }) => {
        #[derive(Debug, Clone, Default, serde::Deserialize, clap::Args)]
        $(#[$about])*
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $(
                $(#[doc = $doc])*
                #[arg(long, value_name = <$kind as Value>::NAME $(, $($arg)*)?)]
                pub(crate) $key: Option<$kind>,
            )*
        }

        impl $name {
            /// All keys.
            pub(crate) const KEYS: &[Key] = &[$(
                Key {
                    key: stringify!($key),
                    field: stringify!($field),
                    #[cfg(test)]
                    about: concat!($($doc),*),
                },
            )*];

            /// Sets the fields whose keys have a value.
            pub(crate) fn set(&self, limits: &mut $limits) {
                $(if let Some(value) = self.$key {
                    limits.$field = Field::<$kind>::of(value);
                })*
            }

            /// Every key with its value in `limits`, as the file has it.
            pub(crate) fn typed(limits: &$limits) -> Vec<(&'static str, Option<String>)> {
                vec![$((stringify!($key), Field::<$kind>::typed(&limits.$field)),)*]
            }
        }

        impl Layer for $name {
            fn over(self, below: Self) -> Self {
                Self { $($key: self.$key.over(below.$key),)* }
            }

            fn says(&self) -> bool {
                false $(|| self.$key.is_some())*
            }
        }

        impl Keys for $name {
            fn has(&self, key: &str) -> bool {
                match key {
                    $(stringify!($key) => self.$key.is_some(),)*
                    _ => false,
                }
            }
        }
    };
}

limits! {
    /// Limits of one handler: `[handler.limits]` and `[handler_defaults.limits]`.
    #[command(next_help_heading = "Limits of a handler")]
    HandlerLimitKeys of HandlerLimits {
        /// Most messages a call; a guest may say less by its setting `batch-max` [default: 64]
        batch_max: Count => batch_messages_max,
        /// Most bytes of messages a call; a larger message is called alone; a guest may say less by `batch-bytes-max`
        /// [default: 1MiB]
        batch_bytes_max: Size => batch_bytes_max,
        /// The time a message may take from its arrival to its settlement: batches are made as large as lets the oldest meet it;
        /// a guest may say less by `latency-budget` [default: 10ms]
        latency_budget: Time => latency_budget,
        /// How long a message may be kept back so that others share its call; 0s is not at all [default: 0s]
        #[arg(hide_short_help = true)]
        linger: Time => linger,
        /// How long a call may run, its waits left out; a guest may say less by `deadline`. At it the call ends with the fault
        /// `deadline`. Without a broker, in a shell pipe, the flag bounds the waits too [default: 1s]
        deadline: Time => deadline,
        /// How long a call may take, its waits and others' turns included; at it as above [default: 5s]
        #[arg(hide_short_help = true)]
        wall_deadline: Time => wall_deadline,
        /// How long `subscribe-receive`, and a request without a time, wait; keep it under `wall_deadline`, so that the guest gets an error and not a fault
        /// [default: 500ms]
        #[arg(hide_short_help = true)]
        receive_wait_max: Time => receive_wait_max,
        /// Requests of its guests that may wait for replies at once a shard; one over is an error of its guest [default: 8]
        #[arg(hide_short_help = true)]
        open_requests_max: Count => open_requests_max,
        /// Memory that an instance may have, all its memories together; at it a growth fails in the guest [default: 64MiB]
        memory_max: Size => memory_bytes_max,
        /// Elements that each table of an instance may have; at it a growth fails in the guest [default: 20000]
        #[arg(hide_short_help = true)]
        table_elements_max: Count => table_elements_max,
        /// Ready instances kept a shard; 0 keeps none [default: 2]
        #[arg(hide_short_help = true)]
        ready_instances_max: Count => ready_instances_max,
        /// Calls that may wait at once a shard; at it batches wait for one to end [default: 8]
        #[arg(hide_short_help = true)]
        suspended_calls_max: Count => suspended_calls_max,
        /// Share of a shard's time relative to other handlers', 1 to 1000, while several want it [default: 1]
        #[arg(hide_short_help = true)]
        weight: Count => weight,
        /// Messages taken and not settled, a shard; at it no more is pulled, and core messages are shed and counted
        /// [default: 8192]
        #[arg(hide_short_help = true)]
        in_flight_messages_max: Count => in_flight_messages_max,
        /// Their bytes, a shard; one message alone is always taken [default: 8MiB]
        #[arg(hide_short_help = true)]
        in_flight_bytes_max: Size => in_flight_bytes_max,
        /// Messages that a call may send; one over fails the call with the fault `outbox` [default: 1024]
        #[arg(hide_short_help = true)]
        outbox_messages_max: Count => outbox_messages_max,
        /// Their bytes; as above [default: 4MiB]
        #[arg(hide_short_help = true)]
        outbox_bytes_max: Size => outbox_bytes_max,
        /// Lines that a call may write into the log; those above it are left out and counted [default: 256]
        #[arg(hide_short_help = true)]
        log_lines_max: Count => log_lines_max,
        /// Failed calls on one message alone before it is given up on; a guest may say less by `deliveries-max` [default: 5]
        deliveries_max: Count => deliveries_max,
        /// Delay before the second of them; it doubles with each, and a random half to whole of it is waited [default: 10ms]
        #[arg(hide_short_help = true)]
        retry_delay_first: Time => retry_delay_first,
        /// Longest such delay [default: 1s]
        #[arg(hide_short_help = true)]
        retry_delay_max: Time => retry_delay_max,
        /// Calls that failed batches may be split into on a shard to find the message that is the cause; what remains is called
        /// again later, each message alone; below 2 nothing is split [default: 32]
        #[arg(hide_short_help = true)]
        split_calls_max: Count => split_calls_max,
        /// How long after the first of these failures batches may be split [default: 100ms]
        #[arg(hide_short_help = true)]
        split_time_max: Time => split_time_max,
        /// Batches a shard whose sends are not all confirmed yet; at it the handler is not called until one is [default: 64]
        #[arg(hide_short_help = true)]
        unconfirmed_batches_max: Count => unconfirmed_batches_max,
        /// How long a confirmation is waited for; at it the batch's messages are handled again [default: 5s]
        #[arg(hide_short_help = true)]
        confirm_wait_max: Time => confirm_wait_max,
        /// How long a handler whose calls nearly all fail is paused on a shard, at first; 0s is never [default: 100ms]
        #[arg(hide_short_help = true)]
        pause_first: Time => pause_first,
        /// Longest such pause; 0s is never [default: 10s]
        #[arg(hide_short_help = true)]
        pause_max: Time => pause_max,
    }
}

limits! {
    /// Limits of the engine: `[engine.limits]`.
    EngineLimitKeys of EngineLimits {
        /// Instances alive at once, all shards together; when none is free used ones go first, then ready ones, then a batch
        /// waits [default: what the other limits can need]
        instances_max: Count => instances_max,
        /// Ready instances a shard, all handlers together [default: 64]
        ready_instances_max: Count => ready_instances_max,
        /// Suspended calls a shard, all handlers together; at it batches wait [default: 32]
        suspended_calls_max: Count => suspended_calls_max,
        /// Core instances of one component; more is refused at load [default: 64]
        core_instances_max: Count => core_instances_max,
        /// Memories of one component; more is refused at load [default: 4]
        memories_max: Count => memories_max,
        /// Tables of one component; more is refused at load [default: 4]
        tables_max: Count => tables_max,
        /// Bytes of a used memory that are reset in place rather than given back to the system [default: 1MiB]
        memory_resident_bytes: Size => memory_resident_bytes,
        /// The same of a table [default: 64KiB]
        table_resident_bytes: Size => table_resident_bytes,
        /// Stack of a guest; at it the call ends with the fault `stack` [default: 512KiB]
        stack_bytes_max: Size => stack_bytes_max,
        /// Messages taken and not settled a shard, all handlers together [default: 65536]
        in_flight_messages_max: Count => in_flight_messages_max,
        /// Their bytes, a shard; one message alone is always taken [default: 64MiB]
        in_flight_bytes_max: Size => in_flight_bytes_max,
        /// How long a call may hold its shard; one that runs longer is made again on a fiber, in turn with others
        /// [default: 1ms]
        time_slice: Time => time_slice,
        /// How long a handler stays on fibers after that; it doubles with each overrun [default: 100ms]
        fiber_stay_first: Time => fiber_stay_first,
        /// Longest such stay [default: 60s]
        fiber_stay_max: Time => fiber_stay_max,
        /// How long a shard that has nothing to do looks for messages before it rests; it takes its whole core meanwhile
        /// [default: 0s]
        idle_spin: Time => idle_spin,
        /// Messages in a shard's inbox, published in process and not yet taken; at it publishers are refused [default: 16384]
        inbox_messages_max: Count => inbox_messages_max,
        /// Messages waiting in one subscription [default: 4096]
        subscription_messages_max: Count => subscription_messages_max,
        /// Subscriptions at once, guests' ephemeral ones included; one over is refused [default: 1024]
        subscriptions_max: Count => subscriptions_max,
        /// Requests waiting for their reply; one over is refused [default: 65536]
        requests_max: Count => requests_max,
        /// Time between two looks at deadlines [default: 1ms]
        tick: Time => tick,
        /// Memory that the engine may need in all, its worst case; more is refused [default: the machine's]
        memory_total: Size => memory_total_bytes_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text says that the default is.
    fn default_of(key: &Key) -> &str {
        let (_, rest) = key
            .about
            .rsplit_once("[default: ")
            .expect("each says its default");
        rest.strip_suffix(']').expect("the default comes last")
    }

    #[test]
    fn every_default_that_is_told_is_the_engines() {
        let handler = HandlerLimitKeys::typed(&HandlerLimits::default());
        let engine = EngineLimitKeys::typed(&EngineLimits::default());
        let keys = HandlerLimitKeys::KEYS.iter().chain(EngineLimitKeys::KEYS);
        for (key, (name, typed)) in keys.zip(handler.into_iter().chain(engine)) {
            assert_eq!(key.key, name);
            match typed {
                Some(typed) => assert_eq!(default_of(key), typed.trim_matches('"'), "{name}"),
                None => assert!(!default_of(key).contains(char::is_numeric), "{name}"),
            }
        }
    }

    /// Some value of the kind that stands as the default, and none that is one.
    fn other_than(typed: Option<&str>) -> &'static str {
        match typed {
            Some(typed) if typed.contains("B\"") => "\"3KiB\"",
            Some(typed) if typed.contains("s\"") => "\"7us\"",
            _ => "77",
        }
    }

    #[test]
    fn every_key_sets_its_own_field_and_no_other() {
        let defaults = HandlerLimitKeys::typed(&HandlerLimits::default());
        for (at, (key, typed)) in defaults.iter().enumerate() {
            let value = other_than(typed.as_deref());
            let keys: HandlerLimitKeys =
                toml::from_str(&format!("{key} = {value}")).expect("it is a key");
            assert!(keys.has(key));
            let mut limits = HandlerLimits::default();
            keys.set(&mut limits);
            for (index, (set, default)) in HandlerLimitKeys::typed(&limits)
                .iter()
                .zip(&defaults)
                .enumerate()
            {
                assert_eq!(index == at, set != default, "{key} and {}", default.0);
            }
            let shown = format!("{limits:?}");
            let field = HandlerLimitKeys::KEYS[at].field;
            let number = value
                .trim_matches(|c: char| !c.is_ascii_digit())
                .replace('3', "3072");
            assert!(
                shown.contains(&format!("{field}: {number}")),
                "{field} in {shown}"
            );
        }
        let defaults = EngineLimitKeys::typed(&EngineLimits::default());
        for (at, (key, typed)) in defaults.iter().enumerate() {
            let value = other_than(typed.as_deref());
            let keys: EngineLimitKeys =
                toml::from_str(&format!("{key} = {value}")).expect("it is a key");
            let mut limits = EngineLimits::default();
            keys.set(&mut limits);
            for (index, (set, default)) in EngineLimitKeys::typed(&limits)
                .iter()
                .zip(&defaults)
                .enumerate()
            {
                assert_eq!(index == at, set != default, "{key} and {}", default.0);
            }
        }
    }

    #[test]
    fn what_lies_above_goes_first() {
        let above: HandlerLimitKeys = toml::from_str("batch_max = 1\nweight = 2").expect("keys");
        let below: HandlerLimitKeys =
            toml::from_str("batch_max = 3\ndeadline = \"4s\"").expect("keys");
        let both = above.over(below);
        assert_eq!(
            (both.batch_max, both.weight),
            (Some(Count(1)), Some(Count(2)))
        );
        assert!(both.has("deadline") && !both.has("linger") && !both.has("nonsense"));
    }

    #[test]
    fn every_limit_of_the_engine_has_a_key() {
        let fields = |shown: String| shown.matches(": ").count();
        let handler = fields(format!("{:?}", HandlerLimits::default()));
        assert_eq!(handler, HandlerLimitKeys::KEYS.len());
        assert_eq!(
            fields(format!("{:?}", EngineLimits::default())),
            EngineLimitKeys::KEYS.len()
        );
    }
}
