//! Who one is to a server: what CONNECT says, and the signature on a server's nonce. No secret is in a text that this makes for people.

use nkeys::{KeyPair, KeyPairType};
use serde_json::json;

use crate::plan::Auth;

/// What CONNECT says to a server that sent this nonce.
///
/// # Errors
/// A server that wants no signature where there is only a key.
pub(crate) fn connect(
    auth: &Auth,
    nonce: Option<&str>,
    is_secure: bool,
) -> Result<serde_json::Value, String> {
    let mut connect = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "echo": true, "protocol": 1,
        "tls_required": is_secure, "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": "loadgen",
    });
    let mut say = |what: &str, value: String| connect[what] = value.into();
    match auth {
        Auth::None => {}
        Auth::User(user, password) => {
            say("user", user.clone());
            say("pass", password.clone());
        }
        Auth::Token(token) => say("auth_token", token.clone()),
        Auth::Nkey(seed) => {
            let key = user_key(seed)?;
            say("nkey", key.public_key());
            say("sig", signed(&key, nonce)?);
        }
        Auth::Jwt(jwt, seed) => {
            say("jwt", jwt.clone());
            say("sig", signed(&user_key(seed)?, nonce)?);
        }
    }
    Ok(connect)
}

/// The key of a user's seed.
///
/// # Errors
/// It is none.
pub(crate) fn user_key(seed: &str) -> Result<KeyPair, String> {
    // What nkeys says of a seed could repeat it, so that isn't passed on.
    match KeyPair::from_seed(seed) {
        Ok(key) if key.key_pair_type() == KeyPairType::User => Ok(key),
        _ => {
            Err("its seed is no user's nkey, which has 58 characters and begins with SU".to_owned())
        }
    }
}

/// The nonce, signed, in base 64 for URLs, unpadded.
fn signed(key: &KeyPair, nonce: Option<&str>) -> Result<String, String> {
    let nonce = nonce.ok_or("it asks for no nkey: it sent nothing to sign")?;
    let signature = key.sign(nonce.as_bytes());
    signature
        .map(|bytes| base64_url(&bytes))
        .map_err(|_| "the nkey can't sign".to_owned())
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..=three.len() {
            let six = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[six as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_that_of_its_rfc() {
        // RFC 4648, section 10, without padding; and the two digits that are of URLs.
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff], "-_8"),
        ] {
            assert_eq!(base64_url(bytes), text);
        }
    }

    #[test]
    fn each_way_fills_its_own_fields() {
        let seed = KeyPair::new_user().seed().unwrap();
        let fields = |auth| {
            let said = connect(&auth, Some("nonce"), false).unwrap();
            ["user", "pass", "auth_token", "nkey", "jwt", "sig"]
                .map(|field| said.get(field).is_some())
        };
        let none = [false; 6];
        assert_eq!(fields(Auth::None), none);
        let user = Auth::User("u".into(), "p".into());
        assert_eq!(fields(user), [true, true, false, false, false, false]);
        let token = Auth::Token("t".into());
        assert_eq!(fields(token), [false, false, true, false, false, false]);
        let nkey = Auth::Nkey(seed.clone());
        assert_eq!(fields(nkey), [false, false, false, true, false, true]);
        let jwt = Auth::Jwt("j".into(), seed.clone());
        assert_eq!(fields(jwt), [false, false, false, false, true, true]);
        let error = connect(&Auth::Nkey(seed), None, false).unwrap_err();
        assert!(error.contains("nothing to sign"), "{error}");
    }

    #[test]
    fn only_a_users_seed_will_do_and_none_is_told() {
        let account = KeyPair::new_account().seed().unwrap();
        for seed in ["hunter2", &account] {
            let error = user_key(seed).err().unwrap();
            assert!(!error.contains(seed), "{error}");
        }
    }
}
