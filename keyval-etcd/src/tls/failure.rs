//! What a failed handshake means, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why an encrypted connection did not come about, with the cause below it.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Failure {
    words: &'static str,
    source: io::Error,
}

/// The same error of a handshake with words for a person before it. `shown` is whether we have a
/// certificate to show.
pub(super) fn explain(error: io::Error, shown: bool) -> io::Error {
    let words = match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(cause) => words_of(cause, shown),
        None => {
            "the TLS handshake was broken off: if the server speaks plain text, write http:// or \
             insecure-transport: true"
        }
    };
    told(words, error)
}

/// The same error of a connection that ended before the server's first word: that is when it has
/// looked at our certificate, if we showed one.
pub(super) fn explain_first(error: io::Error, shown: bool) -> io::Error {
    let words = match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(cause) => words_of(cause, shown),
        None => {
            "the server ended the connection right after the TLS handshake: it may want a client \
             certificate, set cert-file and key-file"
        }
    };
    told(words, error)
}

fn told(words: &'static str, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), Failure { words, source })
}

fn words_of(error: &Error, shown: bool) -> &'static str {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(fault) => words_of_certificate(fault),
        // Some servers call none a bad one.
        Error::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::HandshakeFailure,
        ) if !shown => "the server wants a client certificate: set cert-file and key-file",
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => {
            "the server refused our certificate or wants another one: check that an authority \
             which it trusts issued what cert-file holds"
        }
        Error::AlertReceived(Alert::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "the server speaks no TLS that is safe enough: it needs 1.2 or 1.3"
        }
        Error::AlertReceived(Alert::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "the server speaks TLS and not HTTP/2 in it: it is no etcd"
        }
        Error::InvalidMessage(_) => {
            "the server does not answer in TLS: if it speaks plain text, write http:// or \
             insecure-transport: true"
        }
        _ => "the TLS handshake failed",
    }
}

fn words_of_certificate(fault: &CertificateError) -> &'static str {
    use CertificateError as Fault;
    match fault {
        Fault::UnknownIssuer | Fault::BadSignature => {
            "the server's certificate is from an authority that is not trusted: check ca-file"
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
            "the server's certificate is for another host: check the endpoint, or the names in the \
             certificate"
        }
        Fault::Expired | Fault::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it, and check the clock here"
        }
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: check the clocks here and there"
        }
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => {
            "the server's certificate is not one for servers: issue it with that purpose"
        }
        _ => "the server's certificate is of no use",
    }
}

#[cfg(test)]
mod tests {
    use super::{explain, explain_first};
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
    use std::io;

    #[test]
    fn each_cause_has_words_of_its_own() {
        for (error, expected) in [
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "not trusted",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "another host",
            ),
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "has expired",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidYet),
                "not valid yet",
            ),
            (
                Error::InvalidCertificate(CertificateError::InvalidPurpose),
                "not one for servers",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "wants a client cert",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "refused our certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                "1.2 or 1.3",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "1.2 or 1.3",
            ),
            (Error::NoApplicationProtocol, "no etcd"),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "http://",
            ),
            (Error::DecryptError, "handshake failed"),
        ] {
            let cause = error.to_string();
            let told = explain(io::Error::other(error), false);
            assert!(told.to_string().contains(expected), "{cause}: {told}");
            let source = std::error::Error::source(told.get_ref().unwrap()).unwrap();
            assert_eq!(source.to_string(), cause);
        }
        let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(
            explain(broken(), false)
                .to_string()
                .contains("insecure-transport")
        );
        let bad = || io::Error::other(Error::AlertReceived(AlertDescription::BadCertificate));
        for (error, shown, expected) in [
            (broken(), false, "right after"),
            (broken(), true, "right after"),
            (bad(), false, "wants a client certificate"),
            (bad(), true, "refused our certificate"),
        ] {
            let told = explain_first(error, shown).to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
