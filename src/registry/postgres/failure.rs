//! What went wrong with a database: its name, the cause and the remedy. Never a password: the server does not repeat it,
//! and the database is shown without it.

use std::io::ErrorKind;

use sqlx::error::DatabaseError;

use crate::registry::RegistryError;

const PRIMARY: &str = "give registry.url the primary server: this one takes no changes";

pub(super) fn error(shown: &str, cause: &str, remedy: &str) -> RegistryError {
    RegistryError(format!("the registry {shown} {cause}; {remedy}"))
}

/// What a standby is, and a database that was told to take no changes.
pub(super) fn read_only(shown: &str) -> RegistryError {
    error(shown, "can only be read", PRIMARY)
}

/// What a pooler in transaction mode does to a session: its statements go to several backends, or several sessions'
/// statements to one, and a lock is nobody's.
pub(super) fn pooled(shown: &str) -> RegistryError {
    error(
        shown,
        "is reached through a pooler in transaction mode, by which no turn can be held",
        "give registry.url a pooler in session mode, or the server itself",
    )
}

pub(super) fn told(shown: &str, failed: &sqlx::Error) -> RegistryError {
    match failed {
        sqlx::Error::Io(failed) if failed.kind() == ErrorKind::TimedOut => error(
            shown,
            "does not answer in time",
            "look at the server, and at the network in between",
        ),
        // What rustls refuses comes as invalid data.
        sqlx::Error::Io(failed) if failed.kind() == ErrorKind::InvalidData => untrusted(shown, failed),
        sqlx::Error::Io(failed) => {
            let remedy = "start the server, or correct host, port and files in registry.url";
            error(shown, &format!("cannot be reached ({failed})"), remedy)
        }
        sqlx::Error::Tls(failed) => untrusted(shown, failed),
        sqlx::Error::Database(refused) => refusal(shown, refused.as_ref()),
        other => {
            let cause = format!("answered what is not understood ({other})");
            error(shown, &cause, "check that a PostgreSQL server listens there")
        }
    }
}

fn untrusted(shown: &str, why: &dyn std::fmt::Display) -> RegistryError {
    let remedy = "correct sslmode and sslrootcert in registry.url, or the server's certificate";
    error(shown, &format!("has no TLS that can be trusted ({why})"), remedy)
}

/// By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html).
fn refusal(shown: &str, refused: &dyn DatabaseError) -> RegistryError {
    let said = refused.message();
    let code = refused.code().unwrap_or_default();
    let remedy = match &*code {
        "26000" | "42P05" => return pooled(shown),
        "08P01" if said.contains("startup parameter") => return pooled(shown),
        "57014" | "55P03" => "look at the server's load, and at what else locks these tables",
        "57P05" => {
            "find out what kept the sidecar silent for seconds: a stopped process, no CPU, the network"
        }
        "57P01" | "57P02" | "57P03" => "wait until the server is up again",
        code if code.starts_with("28") => {
            "correct user and password in registry.url, or the server's pg_hba.conf"
        }
        "3D000" => "create the database, or correct its name in registry.url",
        "42501" => "let the user create and use the schema snaptrade_sidecar in this database",
        "53300" => "raise the server's max_connections, or close other connections",
        "25006" => PRIMARY,
        code if code.starts_with("53") => "give the server more disk or memory",
        code if code.starts_with("XX") => "look at the server's log: its data may be damaged",
        _ => "look at the server's log",
    };
    error(shown, &format!("refused ({said})"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_refused_is_no_server_that_is_down() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let refused = std::io::Error::new(ErrorKind::InvalidData, refused);
        assert_eq!(
            told("postgres://h/d", &sqlx::Error::Io(refused)).to_string(),
            "the registry postgres://h/d has no TLS that can be trusted (invalid peer certificate: UnknownIssuer); \
             correct sslmode and sslrootcert in registry.url, or the server's certificate"
        );
    }
}
