//! The sources put together and validated.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use super::effective::Effective;
use super::env;
use super::fault::{Fault, Faults, Place};
use super::file;
use super::identity::{certificates, identity};
use super::layers::Layers;
use super::reader::Reader;
use super::{Config, Files, Ops, Tracing, beside, dotenv, hooks, otel, sections, strays, tenants};

/// Where a configuration comes from. The caller reads the process's environment and command line.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; where it is `None`, the one that `SNAPTRADE_SIDECAR_CONFIG` in the environment names, if it does.
    pub file: Option<PathBuf>,
    /// A `.env` file with further variables, of which those in `env` win.
    pub env_file: Option<PathBuf>,
    pub env: Vec<(OsString, OsString)>,
    /// A key's path and its value each; of two for one key the later wins.
    pub flags: Vec<(String, String)>,
    /// Whether the program starts the application too, as `run` does. `PORT` is the application's then.
    pub starts_application: bool,
}

impl fmt::Debug for Sources {
    /// Leaves out environment and flags, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("env_file", &self.env_file)
            .finish_non_exhaustive()
    }
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What is suspicious, but no reason to refuse to work.
    pub warnings: Vec<String>,
    pub effective: Effective,
    /// Keys that the file sets in vain, each with the variable or flag that goes over it.
    pub overridden: BTreeMap<String, Place>,
    /// What was read.
    pub files: Files,
}

/// Reads the sources, lays one over the other and validates the whole.
///
/// Fails with every fault at once, and then nothing of the configuration is to be used (R15). Reads the files that
/// the configuration names (secrets, certificates) and nothing else.
pub fn load(sources: Sources) -> Result<Loaded, Faults> {
    let (mut faults, mut warnings, mut files) = (Vec::new(), Vec::new(), Files::default());
    let (layers, complete, tracing) = gather(sources, &mut faults, &mut warnings, &mut files);
    let mut reader = Reader::new(&layers, &mut faults, &mut warnings, &mut files);
    let proxy = sections::proxy(&mut reader);
    let ops = sections::ops(&mut reader);
    let ops_tls = identity(&mut reader, "ops.tls_cert_file", "ops.tls_key_file");
    let ops = ops.zip(ops_tls.ok()).map(|(ops, tls)| Ops { tls, ..ops });
    let webhooks = hooks::webhooks(&mut reader);
    let log = sections::log(&mut reader);
    let registry = sections::registry(&mut reader);
    let own = [
        ("proxy.listen", proxy.as_ref().map(|proxy| proxy.listen)),
        ("ops.listen", ops.as_ref().map(|ops| ops.listen)),
        (
            "webhooks.listen",
            webhooks.as_ref().and_then(|hooks| hooks.listen),
        ),
    ];
    let own: Vec<_> = own
        .into_iter()
        .filter_map(|(key, listen)| Some((key, listen?)))
        .collect();
    sections::distinct_listeners(&mut reader, &own);
    let upstream = proxy.as_ref().map(|proxy| &proxy.upstream);
    sections::not_itself(&mut reader, upstream, &own);
    otel::not_itself(&mut reader, tracing.as_ref(), upstream, &own);
    hooks::not_itself(&mut reader, webhooks.as_ref(), &own);
    let tenants = tenants::tenants(&mut reader, complete);
    tenants::forgetful(&mut reader, &tenants, registry.as_ref());
    reader.warn_of_exposed();
    match (proxy, ops, webhooks, log, registry) {
        (Some(proxy), Some(ops), Some(webhooks), Some(log), Some(registry)) if faults.is_empty() => {
            Ok(Loaded {
                config: Config {
                    proxy,
                    ops,
                    webhooks,
                    log,
                    registry,
                    tracing,
                    tenants,
                },
                warnings,
                effective: Effective::of(&layers),
                overridden: layers.overridden().clone(),
                files,
            })
        }
        _ => Err(Faults::new(faults, files)),
    }
}

/// Where the ops plane listens, by the same sources; with the faults of that alone, since who asks for the health of a
/// sidecar need not have its keys.
pub fn ops_listen(sources: Sources) -> Result<SocketAddr, Faults> {
    const KEY: &str = "ops.listen";
    alone(sources, |key| key == KEY, |reader| sections::listen(reader, KEY))
}

/// The certificate that the ops plane shows, and its chain, by the same sources; none where it speaks no TLS. With the faults
/// of that alone: its key is not read.
pub fn ops_certificates(sources: Sources) -> Result<Vec<CertificateDer<'static>>, Faults> {
    const KEY: &str = "ops.tls_cert_file";
    alone(
        sources,
        |key| key == KEY,
        |reader| reader.parsed(KEY, certificates),
    )
}

/// `[ops]` without TLS, by the same sources; with the faults of that alone, since who operates a sidecar need not have its keys.
pub fn ops(sources: Sources) -> Result<Ops, Faults> {
    alone(sources, |key| key.starts_with("ops."), sections::ops)
}

/// What is read of the sources by `read`, if no key is faulty that `concerns` it.
fn alone<T>(
    sources: Sources,
    concerns: impl Fn(&str) -> bool,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, Faults> {
    let (mut faults, mut warnings, mut files) = (Vec::new(), Vec::new(), Files::default());
    let (layers, ..) = gather(sources, &mut faults, &mut warnings, &mut files);
    let found = read(&mut Reader::new(&layers, &mut faults, &mut warnings, &mut files));
    // A file that is none at all might have said it.
    faults.retain(|fault| {
        concerns(&fault.key) || matches!((&*fault.key, &fault.place), ("", Place::File { .. }))
    });
    match found {
        Some(found) if faults.is_empty() => Ok(found),
        _ => Err(Faults::new(faults, files)),
    }
}

/// All sources as one; whether all of them could be read: where not, a missing key means nothing; and what stands in variables
/// that are not the sidecar's own.
fn gather(
    sources: Sources,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
    files: &mut Files,
) -> (Layers, bool, Option<Tracing>) {
    let Sources {
        file,
        env_file,
        mut env,
        flags,
        starts_application,
    } = sources;
    let mut layers = Layers::default();
    if starts_application {
        layers.apply(beside::defaults(faults));
    }
    let mut complete = true;
    if let Some(path) = env_file {
        files.note(&path);
        match dotenv::read(&path, faults) {
            Some(pairs) => {
                warnings.extend(dotenv::exposed(&path, &pairs));
                env = dotenv::under_env(env, pairs);
            }
            None => complete = false,
        }
    }
    warnings.extend(strays::near_misses(&env));
    if let Some(path) = file.or_else(|| env::config_file(&env)) {
        files.note(&path);
        match file::read(&path, faults) {
            Some(layer) => layers.apply(layer),
            None => complete = false,
        }
    }
    layers.apply(env::shorthand(&env, !starts_application, faults));
    let variables = env::variables(&env, &layers, faults);
    layers.apply(variables);
    strays::refuse(&env, faults);
    layers.apply(env::flags(&flags, faults));
    if starts_application {
        layers.apply(beside::overrides(faults));
    }
    env::add_frontend(&mut layers, &env, warnings);
    let tracing = otel::tracing(&env, faults, warnings);
    (layers, complete, tracing)
}
