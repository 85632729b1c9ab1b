//! What a server says is wrong: the text of `-ERR`, told apart.
//!
//! Pure. The texts are those of nats-server (server/errors.go); their case does not matter.

use std::fmt;

/// Longest text of a server that is kept, in bytes. Default 1,024: a subject and a sentence. What is longer is cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// What a `-ERR` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The server does not take these credentials, or has taken them back.
    Authorization,
    /// The credentials were good and are too old.
    Expired,
    /// CONNECT came too late for the server.
    AuthenticationTimeout,
    /// It may not publish to this subject.
    Publish {
        /// The subject.
        subject: String,
    },
    /// It may not publish with this reply subject.
    Reply {
        /// The reply subject.
        subject: String,
    },
    /// It may not subscribe to this subject.
    Subscription {
        /// The subject.
        subject: String,
        /// The subscription's number, where the server says it.
        sid: Option<u64>,
    },
    /// A message was larger than the server takes.
    MaximumPayload,
    /// The server, or the account, has no room for one more connection.
    MaximumConnections,
    /// The connection has no room for one more subscription.
    MaximumSubscriptions,
    /// The server had no answer to its PINGs.
    StaleConnection,
    /// The server had more for this connection than it keeps.
    SlowConsumer,
    /// The server wants TLS.
    TlsRequired,
    /// Anything else.
    Unknown,
}

/// What a server says is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerRefusal {
    /// What it is about.
    pub kind: RefusalKind,
    /// The server's words.
    pub text: String,
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl ServerRefusal {
    /// Reads the text of a `-ERR`, with or without its quotes.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.trim().trim_matches('\'');
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        let text = text[..end].to_owned();
        Self {
            kind: kind_of(&text),
            text,
        }
    }

    /// Whether the connection is over with it: the server closes it then.
    pub(crate) fn ends(&self) -> bool {
        use RefusalKind as K;
        match self.kind {
            K::Publish { .. } | K::Reply { .. } | K::Subscription { .. } => false,
            K::MaximumSubscriptions => false,
            // A subject that the server finds malformed costs that message only.
            K::Unknown => !self.text.to_ascii_lowercase().ends_with("subject"),
            _ => true,
        }
    }

    /// Whether the same attempt would come to the same end until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        use RefusalKind as K;
        matches!(self.kind, K::Authorization | K::Expired | K::TlsRequired)
    }
}

fn kind_of(text: &str) -> RefusalKind {
    use RefusalKind as K;
    let lower = text.to_ascii_lowercase();
    if let Some(what) = lower.strip_prefix("permissions violation for ") {
        return permission(what, &text[text.len() - what.len()..]);
    }
    let has = |part: &str| lower.contains(part);
    match () {
        () if has("authorization violation") || has("revoked") => K::Authorization,
        () if has("authentication expired") => K::Expired,
        () if has("authentication timeout") => K::AuthenticationTimeout,
        () if has("maximum payload") => K::MaximumPayload,
        () if has("connections exceeded") => K::MaximumConnections,
        () if has("subscriptions exceeded") => K::MaximumSubscriptions,
        () if has("stale connection") => K::StaleConnection,
        () if has("slow consumer") => K::SlowConsumer,
        () if has("tls required") => K::TlsRequired,
        () => K::Unknown,
    }
}

/// `Publish to "a"`, `Publish with Reply of "a"`, `Subscription to "a"`, `Subscription to "a" using queue "q"`; and of one that was
/// taken back when the server's configuration was loaded anew, `Subscription to "a" (sid "7")`.
fn permission(lower: &str, text: &str) -> RefusalKind {
    use RefusalKind as K;
    let mut quoted = text.split('"').skip(1).step_by(2);
    let Some(subject) = quoted.next().map(str::to_owned) else {
        return K::Unknown;
    };
    match () {
        () if lower.starts_with("publish to") => K::Publish { subject },
        () if lower.starts_with("publish with reply") => K::Reply { subject },
        () if lower.starts_with("subscription to") => K::Subscription {
            subject,
            sid: lower
                .contains("(sid \"")
                .then(|| quoted.last()?.parse().ok())
                .flatten(),
        },
        () => K::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusalKind as K;
    use proptest::prelude::*;

    /// The text, what it is about, whether it ends the connection, whether trying again is in vain.
    const TABLE: &[(&str, RefusalKind, bool, bool)] = &[
        ("'Authorization Violation'", K::Authorization, true, true),
        ("authorization violation", K::Authorization, true, true),
        (
            "'User Authentication Revoked'",
            K::Authorization,
            true,
            true,
        ),
        ("'User Authentication Expired'", K::Expired, true, true),
        ("'Account Authentication Expired'", K::Expired, true, true),
        (
            "'Authentication Timeout'",
            K::AuthenticationTimeout,
            true,
            false,
        ),
        (
            "'Permissions Violation for Publish to'",
            K::Unknown,
            true,
            false,
        ),
        (
            "'Permissions Violation for Import of \"a\"'",
            K::Unknown,
            true,
            false,
        ),
        (
            "'Maximum Payload Violation'",
            K::MaximumPayload,
            true,
            false,
        ),
        (
            "'maximum connections exceeded'",
            K::MaximumConnections,
            true,
            false,
        ),
        (
            "'maximum account active connections exceeded'",
            K::MaximumConnections,
            true,
            false,
        ),
        (
            "'maximum subscriptions exceeded'",
            K::MaximumSubscriptions,
            false,
            false,
        ),
        ("'Stale Connection'", K::StaleConnection, true, false),
        ("'Slow Consumer'", K::SlowConsumer, true, false),
        (
            "'Secure Connection - TLS Required'",
            K::TlsRequired,
            true,
            true,
        ),
        ("'Unknown Protocol Operation'", K::Unknown, true, false),
        ("'Parser Error'", K::Unknown, true, false),
        ("'Invalid Publish Subject'", K::Unknown, false, false),
        ("", K::Unknown, true, false),
    ];

    #[test]
    fn each_text_is_told_apart() {
        for (text, kind, ends, is_final) in TABLE {
            let read = ServerRefusal::read(text);
            assert_eq!(read.kind, *kind, "{text}");
            assert_eq!((read.ends(), read.is_final()), (*ends, *is_final), "{text}");
        }
    }

    #[test]
    fn permissions_name_what_they_are_about() {
        let subject = || "a.b".to_owned();
        let to = |sid: Option<u64>| K::Subscription {
            subject: subject(),
            sid,
        };
        for (text, kind) in [
            ("Publish to \"a.b\"", K::Publish { subject: subject() }),
            (
                "Publish with Reply of \"a.b\"",
                K::Reply { subject: subject() },
            ),
            ("Subscription to \"a.b\"", to(None)),
            ("subscription to \"a.b\" using queue \"q\"", to(None)),
            ("Subscription to \"a.b\" (sid \"7\")", to(Some(7))),
            ("Subscription to \"a.b\" (sid \"x\")", to(None)),
        ] {
            let read = ServerRefusal::read(&format!("'Permissions Violation for {text}'"));
            assert_eq!(read.kind, kind, "{text}");
            assert!(!read.ends() && !read.is_final());
        }
    }

    #[test]
    fn the_subject_keeps_its_case() {
        let read = ServerRefusal::read("'Permissions Violation for Publish to \"Orders.NEW\"'");
        let subject = "Orders.NEW".to_owned();
        assert_eq!(read.kind, K::Publish { subject });
        assert_eq!(
            read.text,
            "Permissions Violation for Publish to \"Orders.NEW\""
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_is_kept_whole(text in ".{0,2000}") {
            prop_assert!(ServerRefusal::read(&text).text.len() <= TEXT_BYTES_MAX);
        }
    }
}
