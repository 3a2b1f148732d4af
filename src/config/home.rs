//! Where the registry lives, by its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

use super::fault::Problem;

/// What PostgreSQL's URLs may say after the `?`. Others would be passed over, and with them what they were to protect.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];
const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// `registry.url`, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing on disk.
    Memory,
    /// The file of a SQLite database.
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database, which may hold a password. Shows user, host, port and database only.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: Zeroizing<String>,
    shown: String,
}

impl PostgresUrl {
    /// The URL itself. Every use is a place to check for leaks.
    pub fn expose(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl FromStr for Home {
    type Err = String;

    /// Fails with what is wrong and what to do, without a word of the URL.
    fn from_str(url: &str) -> Result<Self, String> {
        home(url).map_err(|problem| format!("the registry's URL {}; {}", problem.what, problem.remedy))
    }
}

/// Reads a registry's URL. Does not quote it in a fault, since what is wrong with it may be a password.
pub(super) fn home(text: &str) -> Result<Home, Problem> {
    let refused = |what: &str| {
        let remedy =
            "write \"memory:\", \"sqlite:///path/to/file.db\" or \"postgres://user:password@host/database\"";
        Err(Problem::new(what, remedy))
    };
    match text.split_once(':') {
        Some(("memory", "")) => Ok(Home::Memory),
        Some(("memory", _)) => refused("says more than \"memory:\""),
        Some(("sqlite", rest)) => sqlite(rest),
        Some(("postgres" | "postgresql", _)) => postgres(text),
        _ => refused("begins with none of \"memory:\", \"sqlite://\" and \"postgres://\""),
    }
}

fn sqlite(rest: &str) -> Result<Home, Problem> {
    let refused = |what: &str| {
        let remedy = "write \"sqlite:///var/lib/snaptrade-sidecar/registry.db\", or \"sqlite://registry.db\" in the \
                      working directory";
        Err(Problem::new(what, remedy))
    };
    match rest.strip_prefix("//") {
        Some("") => refused("names no file"),
        None => refused("has no \"//\" after \"sqlite:\""),
        Some(path) if path.ends_with('/') => refused("names a directory"),
        Some(path) if path.contains(['?', '#', '\0']) => {
            refused("has a \"?\" or \"#\": there are no parameters")
        }
        Some(path) => Ok(Home::Sqlite(PathBuf::from(path))),
    }
}

fn postgres(text: &str) -> Result<Home, Problem> {
    let refused = |what: String| {
        let remedy = "write \"postgres://user:password@host:5432/database?sslmode=verify-full\", and % with two \
                      hexadecimal digits for characters such as @ / : ? # in a name or password";
        Err(Problem::new(what, remedy))
    };
    let url = match Url::parse(text) {
        Ok(url) if url.has_authority() => url,
        Ok(_) => return refused("has no \"//\" after its first word".to_owned()),
        Err(error) => return refused(format!("cannot be read: {error}")),
    };
    let mut host = url.host_str().unwrap_or_default().to_owned();
    let mut names_host = !host.is_empty();
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" if !value.is_empty() => {
                host = value.into_owned();
                names_host = true;
            }
            "port" if value.parse::<u16>().is_err() => return refused("has no valid port".to_owned()),
            "sslmode" if !SSL_MODES.contains(&&*value) => {
                return refused(format!(
                    "has no valid sslmode: it is one of {}",
                    SSL_MODES.join(", ")
                ));
            }
            name if PARAMETERS.contains(&name) => {}
            // Not quoted: it may be a part of a password with a `?` in it.
            _ => {
                return refused(format!(
                    "has a parameter that is none of {}",
                    PARAMETERS.join(", ")
                ));
            }
        }
    }
    if !names_host {
        return refused("names no host".to_owned());
    }
    let database = url.path().trim_start_matches('/');
    if database.contains('/') {
        return refused("names more than one database".to_owned());
    }
    let parts = [url.username(), url.password().unwrap_or_default(), database];
    if parts
        .iter()
        .any(|part| percent_decode_str(part).decode_utf8().is_err())
    {
        return refused("is not UTF-8 where it has %".to_owned());
    }
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(Home::Postgres(PostgresUrl {
        url: Zeroizing::new(text.to_owned()),
        shown: format!("postgres://{user}{host}{port}/{database}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_home_has_its_url() {
        let path = |path: &str| Ok(Home::Sqlite(PathBuf::from(path)));
        assert_eq!("memory:".parse(), Ok(Home::Memory));
        assert_eq!("sqlite:///var/lib/x.db".parse(), path("/var/lib/x.db"));
        assert_eq!("sqlite://x.db".parse(), path("x.db"));
        for url in [
            "postgres://u@h/d",
            "postgresql://u:p%40@h:1/d?sslmode=require",
            "postgres:///d?host=/run",
        ] {
            assert!(matches!(url.parse(), Ok(Home::Postgres(_))), "{url}");
        }
    }

    #[test]
    fn r13_neither_a_database_nor_a_fault_shows_a_password() {
        let shown = |url: &str| match url.parse() {
            Ok(home @ Home::Postgres(_)) => format!("{home:?}"),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => fault,
        };
        assert_eq!(
            shown("postgres://ada:s3cret@db.internal:5433/sidecar"),
            "Postgres(postgres://ada@db.internal:5433/sidecar)"
        );
        for url in [
            "postgres://u:s3cret@h/d?password=s3cret",
            "postgres://u:s3cret@h/d?sslmode=s3cret",
            "postgres://u:s3cret@h:s3cret/d",
            "postgres://u:p?s3cret@h/d",
            "postgres://u:p/s3cret@h/d",
            "postgres://u:s3cret@h/d/s3cret",
            "postgres://u:%ffs3cret@h/d",
            "postgres://:s3cret@/d",
            "postgres:s3cret",
            "mysql://u:s3cret@h/d",
            "sqlite:s3cret",
            "sqlite://s3cret?x",
            "memory:s3cret",
            "s3cret",
        ] {
            assert!(!shown(url).contains("s3cret"), "{url}: {}", shown(url));
        }
    }
}
