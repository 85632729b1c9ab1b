//! Certificates for tests, made when they run.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use super::auth::Secret;
use super::tls::{ClientCertificate, Pem};

/// Who issues them.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> Pem {
        Pem::Text(Secret::new(self.text()))
    }

    pub(crate) fn text(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, good until the year 2020 or for long.
    pub(crate) fn issue(&self, name: &str, expired: bool) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// To be shown by a client.
    pub(crate) fn shown(&self) -> ClientCertificate {
        ClientCertificate {
            chain: Pem::Text(Secret::new(self.certificate.clone())),
            key: Pem::Text(Secret::new(self.key.clone())),
        }
    }
}
