//! How a connection says who it is: user and password, token, nkey, or a `.creds` file.
//!
//! Owns the secrets and the signature on a server's nonce. No secret is ever in a text that it makes: not in an error, not in what
//! `Debug` shows. Knows no socket and no clock; files are read by whoever may block.

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use thiserror::Error;

/// Largest file of credentials, in bytes. Default 64 KiB: a JWT with many permissions has a few KiB. A larger one is refused.
pub(crate) const CREDENTIALS_BYTES_MAX: u64 = 64 << 10;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What it is; for what is sent to a server only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a connection says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// It says nothing. Default.
    #[default]
    Nobody,
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// An nkey, by its seed (`SU…`): the server's nonce is signed with it.
    Nkey(Secret),
    /// A user's JWT and the seed that belongs to it: what a `.creds` file has in it.
    Jwt {
        /// The JWT.
        jwt: Secret,
        /// The seed.
        seed: Secret,
    },
    /// A `.creds` file. It is read anew for every attempt to connect, so that one that is renewed in time is taken up.
    CredentialsFile(PathBuf),
}

/// Why a connection can't say who it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AuthError {
    /// A file of credentials can't be read.
    #[error("cannot read the credentials file {}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// A file of credentials is none.
    #[error("{} is no credentials file: {missing} is missing; make one with `nsc generate creds`", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// A seed is none of a user's.
    #[error("the nkey seed {reason}; it has 58 characters and begins with SU")]
    Seed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server sent nothing to sign.
    #[error(
        "the server asks for no nkey: it sent no nonce to sign; it is configured without nkeys and JWTs"
    )]
    NoNonce,
}

/// What goes into CONNECT: the fields by which a server knows a client.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    /// The field `user`.
    pub(crate) user: Option<String>,
    /// The field `pass`.
    pub(crate) pass: Option<String>,
    /// The field `auth_token`.
    pub(crate) auth_token: Option<String>,
    /// The field `nkey`: the public key.
    pub(crate) nkey: Option<String>,
    /// The field `jwt`.
    pub(crate) jwt: Option<String>,
    /// The field `sig`: the server's nonce, signed.
    pub(crate) sig: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(secret)")
    }
}

impl Auth {
    /// The file that must be read before it can say anything.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::CredentialsFile(path) => Some(path),
            _ => None,
        }
    }

    /// Checks what can be known before a server is there. Reads its file: blocks.
    pub(crate) fn check(&self) -> Result<(), AuthError> {
        match self {
            Self::Nkey(seed) | Self::Jwt { seed, .. } => key_of(seed).map(drop),
            Self::CredentialsFile(path) => read_credentials(path)?.check(),
            Self::Nobody | Self::Password { .. } | Self::Token(_) => Ok(()),
        }
    }

    /// What to say to a server that sent this nonce. A file's content must have been put in its place ([`read_credentials`]).
    pub(crate) fn login(&self, nonce: Option<&str>) -> Result<Login, AuthError> {
        let mut login = Login::default();
        match self {
            Self::Nobody => {}
            Self::Password { user, password } => {
                login.user = Some(user.clone());
                login.pass = Some(password.expose().to_owned());
            }
            Self::Token(token) => login.auth_token = Some(token.expose().to_owned()),
            Self::Nkey(seed) => {
                let key = key_of(seed)?;
                login.nkey = Some(key.public_key());
                login.sig = Some(signed(&key, nonce)?);
            }
            Self::Jwt { jwt, seed } => {
                login.sig = Some(signed(&key_of(seed)?, nonce)?);
                login.jwt = Some(jwt.expose().to_owned());
            }
            Self::CredentialsFile(path) => {
                let detail = "it has not been read".to_owned();
                let path = path.clone();
                return Err(AuthError::File { path, detail });
            }
        }
        Ok(login)
    }
}

/// Reads a `.creds` file: [`Auth::Jwt`]. Blocks.
pub(crate) fn read_credentials(path: &Path) -> Result<Auth, AuthError> {
    let refused = |detail: String| AuthError::File {
        path: path.to_owned(),
        detail,
    };
    let about = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if about.len() > CREDENTIALS_BYTES_MAX {
        return Err(refused(format!(
            "it has {} bytes, more than {CREDENTIALS_BYTES_MAX}",
            about.len()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    parse_credentials(&text).map_err(|missing| AuthError::Credentials {
        path: path.to_owned(),
        missing,
    })
}

/// The JWT and the seed in the text of a `.creds` file; what it lacks if it lacks one.
fn parse_credentials(text: &str) -> Result<Auth, &'static str> {
    let jwt = block(text, "JWT").ok_or("its block BEGIN NATS USER JWT")?;
    let seed = block(text, "SEED").ok_or("its block BEGIN USER NKEY SEED")?;
    Ok(Auth::Jwt { jwt, seed })
}

/// What stands between the lines `---BEGIN … what---` and `---END … what---`.
fn block(text: &str, what: &str) -> Option<Secret> {
    let marks = |line: &str, word: &str| {
        let line = line.trim();
        let label = line.trim_matches('-').trim();
        line.starts_with("---") && label.starts_with(word) && label.ends_with(what)
    };
    let mut lines = text.lines().skip_while(|line| !marks(line, "BEGIN"));
    lines.next()?;
    let mut body = String::new();
    for line in lines {
        if marks(line, "END") {
            return (!body.is_empty()).then_some(Secret(body));
        }
        body.push_str(line.trim());
    }
    None
}

/// The key of a user's seed.
fn key_of(seed: &Secret) -> Result<KeyPair, AuthError> {
    // What nkeys says of it could repeat it, so that isn't passed on.
    let key = KeyPair::from_seed(seed.expose().trim()).map_err(|_| AuthError::Seed {
        reason: "cannot be read",
    })?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        _ => Err(AuthError::Seed {
            reason: "is not a user's",
        }),
    }
}

/// The nonce, signed, as CONNECT has it: base64 for URLs, unpadded.
fn signed(key: &KeyPair, nonce: Option<&str>) -> Result<String, AuthError> {
    let nonce = nonce.ok_or(AuthError::NoNonce)?;
    let signature = key.sign(nonce.as_bytes()).map_err(|_| AuthError::Seed {
        reason: "cannot sign",
    })?;
    Ok(BASE64URL_NOPAD.encode(&signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Secret {
        let key = KeyPair::new_user();
        Secret::new(key.seed().expect("a new key has a seed"))
    }

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn each_way_fills_its_own_fields() {
        let empty = Login::default();
        assert_eq!(Auth::Nobody.login(None), Ok(empty.clone()));
        let password = Auth::Password {
            user: "u".into(),
            password: Secret::new("p"),
        };
        let expected = Login {
            user: Some("u".into()),
            pass: Some("p".into()),
            ..empty.clone()
        };
        assert_eq!(password.login(Some("n")), Ok(expected));
        let expected = Login {
            auth_token: Some("t".into()),
            ..empty
        };
        assert_eq!(Auth::Token(Secret::new("t")).login(None), Ok(expected));
    }

    #[test]
    fn a_nonce_is_signed_by_the_key_that_is_named() {
        let seed = seed();
        let login = Auth::Nkey(seed.clone()).login(Some("a nonce")).unwrap();
        let named = KeyPair::from_public_key(&login.nkey.unwrap()).unwrap();
        let signature = BASE64URL_NOPAD
            .decode(login.sig.unwrap().as_bytes())
            .unwrap();
        named.verify(b"a nonce", &signature).unwrap();
        assert_eq!(Auth::Nkey(seed).login(None), Err(AuthError::NoNonce));
    }

    #[test]
    fn a_jwt_goes_with_a_signature_and_no_key() {
        let auth = parse_credentials(&creds("eyJ.x.y", seed().expose())).unwrap();
        let login = auth.login(Some("a nonce")).unwrap();
        assert_eq!(login.jwt.as_deref(), Some("eyJ.x.y"));
        assert!(login.sig.is_some() && login.nkey.is_none());
    }

    #[test]
    fn credentials_with_other_line_ends_are_the_same() {
        let text = creds("eyJ.x.y", "SUAX");
        let auth = parse_credentials(&text).unwrap();
        assert_eq!(
            parse_credentials(&text.replace('\n', "\r\n")).unwrap(),
            auth
        );
        assert_eq!(parse_credentials(&format!("\n \n{text}")).unwrap(), auth);
    }

    #[test]
    fn credentials_without_a_part_say_which() {
        for (text, missing) in [
            (String::new(), "JWT"),
            (creds("", "s"), "JWT"),
            (creds("j", ""), "SEED"),
            (creds("j", "s").replace("------END USER", ""), "SEED"),
            (creds("j", "s").replace("JWT", "XXX"), "JWT"),
        ] {
            let said = parse_credentials(&text).expect_err("a part is missing");
            assert!(said.contains(missing), "{said}");
        }
    }

    #[test]
    fn files_are_read_within_their_limit_and_checked() {
        let dir = std::env::temp_dir().join(format!("millpond-creds-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("user.creds");
        let auth = Auth::CredentialsFile(path.clone());
        assert!(matches!(auth.check(), Err(AuthError::File { .. })));
        std::fs::write(&path, creds("j", "not a seed")).unwrap();
        let error = auth.check().expect_err("the seed is none");
        assert!(!format!("{error} {error:?}").contains("not a seed"));
        std::fs::write(&path, creds("j", seed().expose())).unwrap();
        assert_eq!(auth.check(), Ok(()));
        assert!(auth.login(Some("n")).is_err(), "its content was not read");
        let most = CREDENTIALS_BYTES_MAX as usize;
        std::fs::write(&path, vec![b'-'; most]).unwrap();
        assert!(matches!(auth.check(), Err(AuthError::Credentials { .. })));
        std::fs::write(&path, vec![b'-'; most + 1]).unwrap();
        assert!(matches!(auth.check(), Err(AuthError::File { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_a_users_seed_will_do() {
        let account = KeyPair::new_account().seed().unwrap();
        let error = Auth::Nkey(Secret::new(account)).check().unwrap_err();
        assert!(error.to_string().contains("not a user's"), "{error}");
        assert!(Auth::Nkey(seed()).check().is_ok());
    }

    #[test]
    fn nothing_shows_a_secret() {
        let (seed, hidden) = (seed(), Secret::new("hidden"));
        let login = Auth::Nkey(seed.clone()).login(Some("n")).unwrap();
        let jwt = Auth::Jwt {
            jwt: hidden.clone(),
            seed: seed.clone(),
        };
        let all = format!(
            "{login:?} {jwt:?} {:?} {hidden:?}",
            Auth::Token(hidden.clone())
        );
        assert!(
            !all.contains("hidden") && !all.contains(seed.expose()),
            "{all}"
        );
    }
}
