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

/// `registry.url`, validated. Shown as it is written there, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing on disk.
    Memory,
    /// The file of a SQLite database.
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
        }
    }
}

/// The URL of a PostgreSQL database, which may hold a password. Shows everything else.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: Zeroizing<String>,
    shown: String,
    has_password: bool,
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

/// Whether this URL is to be hidden. One that cannot be read may hold anything.
pub(super) fn is_secret(text: &str) -> bool {
    match home(text) {
        Ok(Home::Memory | Home::Sqlite(_)) => false,
        Ok(Home::Postgres(url)) => url.has_password,
        Err(_) => true,
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
    let without_host = || {
        let remedy = "name one after the @, or the directory of a socket, as in \
                      \"postgres://user:password@/database?host=/var/run/postgresql\"";
        Err(Problem::new("names no host", remedy))
    };
    let text = Zeroizing::new(with_host(text));
    let url = match Url::parse(&text) {
        Ok(url) if url.has_authority() => url,
        Ok(_) => return refused("has no \"//\" after its first word".to_owned()),
        Err(url::ParseError::EmptyHost) => return without_host(),
        Err(error) => return refused(format!("cannot be read: {error}")),
    };
    let mut host = url.host_str().unwrap_or_default().to_owned();
    let mut has_password = url.password().is_some();
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" if !value.is_empty() => host = value.into_owned(),
            "password" => has_password = true,
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
    if host.is_empty() {
        return without_host();
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
    Ok(Home::Postgres(PostgresUrl {
        shown: shown(&url, &host),
        url: text,
        has_password,
    }))
}

/// libpq takes a URL with a user and no host, which no other reader of URLs does: `postgres://user@/database?host=/directory`.
/// There, the host that is put in gives way to the one in the query.
fn with_host(text: &str) -> String {
    let added = || {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#'])?);
        let (user, port) = authority.rsplit_once('@')?;
        let is_without = (port.is_empty() || port.starts_with(':')) && rest.contains("host=");
        is_without.then(|| format!("{scheme}://{user}@localhost{port}{rest}"))
    };
    added().unwrap_or_else(|| text.to_owned())
}

/// A URL by which one can tell the database, without a password: put together of its parts, so that what is not known of
/// is left out.
fn shown(url: &Url, host: &str) -> String {
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let is_socket = host.starts_with('/');
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let named = if is_socket { "" } else { host };
    let mut parameters = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url.query_pairs() {
        // A host that is no directory stands before the port already.
        if name != "password" && (name != "host" || is_socket) {
            parameters.append_pair(&name, &value);
        }
    }
    // A path needs no escaping here, and reads better without.
    let parameters = parameters.finish().replace("%2F", "/");
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("postgres://{user}{named}{port}{}{mark}{parameters}", url.path())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
            "postgres://u@/d?host=/run",
            "postgres://u:p@:5433/d?sslmode=disable&host=/run",
        ] {
            assert!(matches!(url.parse(), Ok(Home::Postgres(_))), "{url}");
        }
    }

    #[test]
    fn a_home_is_shown_as_it_is_written() {
        for url in [
            "memory:",
            "sqlite:///var/lib/x.db",
            "sqlite://x.db",
            "postgres://u@h:1/d?sslmode=verify-full",
            "postgres://u@/d?host=/run/postgresql",
        ] {
            assert_eq!(home(url).unwrap().to_string(), url);
            assert!(!is_secret(url), "{url}");
        }
        for url in ["postgres://u:p@h/d", "postgres://h/d?password=p", "postgres:p"] {
            assert!(is_secret(url), "{url}");
        }
    }

    #[test]
    fn a_host_that_is_a_directory_is_where_the_database_is_looked_for() {
        let Ok(Home::Postgres(url)) = home("postgres://u:p%40@/d?host=/run/x") else {
            panic!("not read");
        };
        let options: sqlx::postgres::PgConnectOptions = url.expose().parse().unwrap();
        assert_eq!(options.get_socket().unwrap(), Path::new("/run/x"));
        assert_eq!((options.get_username(), options.get_database()), ("u", Some("d")));
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
        assert_eq!(
            shown("postgres://ada:s3cret@/d?password=s3cret&sslmode=disable&host=/run/x"),
            "Postgres(postgres://ada@/d?sslmode=disable&host=/run/x)"
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
            "postgres://u:s3cret@/d?host=",
            "postgres://u:s3cret@?host=/run&password=s3cret",
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
