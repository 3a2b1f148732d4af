//! Where spans go: the standard variables of OpenTelemetry, which are read here and not by its SDK, so that a `.env` file
//! counts and `check` says what is wrong.
//!
//! They may have been set for every program of a container. So a fault is only what is wrong for all of them, an endpoint
//! that is none; of anything else that this program cannot do it warns.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::env::Env;
use super::fault::{Fault, Place, Problem};
use super::hooks;
use super::reader::Reader;
use super::sections::leads_to;
use super::{Sampler, Tracing, Upstream};

/// What holds for traces alone stands before what holds for all signals.
const ENDPOINT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const TIMEOUT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSION: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What is added to the endpoint of all signals.
const PATH: &str = "v1/traces";
const SERVICE: &str = "service.name";

/// Of the specification, in milliseconds and spans; and up to which it makes sense.
const TIMEOUT_MS: (u64, u64) = (10_000, 600_000);
const DELAY_MS: (u64, u64) = (5_000, 600_000);
const QUEUE_SPANS: (u64, u64) = (2_048, 65_536);
const BATCH_SPANS: (u64, u64) = (512, 8_192);

/// `None` where nobody asks for spans, or there is a fault.
pub(super) fn tracing(env: &Env, faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Option<Tracing> {
    let mut variables = Variables { env, warnings };
    let (variable, text) = variables.first(ENDPOINT)?;
    if variables.is_off() {
        return None;
    }
    let endpoint = match endpoint(variable, &text) {
        Ok(endpoint) => endpoint,
        Err(problem) => {
            faults.push(problem.at("", Place::Variable(variable.to_owned())));
            return None;
        }
    };
    variables.warn_of_what_is_not_done();
    let queue_max = variables.count("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS);
    let batch_max = variables.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS);
    Some(Tracing {
        endpoint,
        variable,
        headers: variables.headers(),
        timeout: {
            let [traces, all] = TIMEOUT;
            let name = if variables.get(traces).is_some() {
                traces
            } else {
                all
            };
            variables.millis(name, TIMEOUT_MS)
        },
        resource: variables.resource(),
        sampler: variables.sampler(),
        delay: variables.millis("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS),
        queue_max,
        batch_max: batch_max.min(queue_max),
    })
}

/// Spans that are sent to the sidecar itself would make spans; and none are SnapTrade's business.
pub(super) fn not_itself(
    reader: &mut Reader<'_>,
    tracing: Option<&Tracing>,
    upstream: Option<&Upstream>,
    own: &[(&'static str, SocketAddr)],
) {
    let target = tracing.and_then(|tracing| Some((tracing.variable, hooks::origin(&tracing.endpoint)?)));
    let Some((variable, target)) = target else { return };
    let mut fault = |what: String| {
        let problem = Problem::new(what, "give the URL of an OpenTelemetry collector");
        reader.fault("", Place::Variable(variable.to_owned()), problem);
    };
    if let Some((key, listen)) = own.iter().find(|(_, listen)| leads_to(&target, *listen)) {
        fault(format!("is the sidecar itself, by {key} ({listen})"));
    } else if upstream.is_some_and(|upstream| upstream.is_same_place(&target)) {
        fault("is SnapTrade, by proxy.upstream".to_owned());
    }
}

/// Does not quote the URL in a fault, since what is wrong with it may be a password.
fn endpoint(variable: &str, text: &str) -> Result<Url, Problem> {
    let mut url = hooks::url(text).map_err(|Problem { what, .. }| {
        Problem::new(
            what,
            "write the URL of a collector's OTLP port for HTTP, such as \"http://localhost:4318\", or unset it",
        )
    })?;
    if variable != ENDPOINT[0] {
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/{PATH}"));
    }
    Ok(url)
}

struct Variables<'a> {
    env: &'a Env,
    warnings: &'a mut Vec<String>,
}

impl Variables<'_> {
    /// An empty one counts as not set. What is not UTF-8 becomes something that cannot be understood.
    fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
        Some(value.to_string_lossy().trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, String)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    fn warn(&mut self, name: &str, what: &str) {
        let place = Place::Variable(name.to_owned());
        self.warnings.push(format!("{place}: {what}"));
    }

    /// Whether no spans are to be sent, or not in a way that this program knows.
    fn is_off(&mut self) -> bool {
        let disabled = self.get("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return true;
        }
        if let Some(exporters) = self.get(EXPORTER)
            && !exporters.split(',').any(|exporter| exporter.trim() == "otlp")
        {
            if exporters != "none" {
                self.warn(EXPORTER, "does not name otlp, so that no spans are exported");
            }
            return true;
        }
        let protocol = self.first(PROTOCOL);
        let Some((name, _)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") else {
            return false;
        };
        self.warn(
            name,
            "is not http/protobuf, the one protocol that the sidecar speaks, so that no spans are exported; set \
             OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf, and the endpoint to the collector's port for HTTP",
        );
        true
    }

    fn warn_of_what_is_not_done(&mut self) {
        let compression = self.first(COMPRESSION);
        if let Some((name, _)) = compression.filter(|(_, compression)| compression != "none") {
            self.warn(name, "is not heeded; spans are sent uncompressed");
        }
        if let Some((name, _)) = self.first(CERTIFICATE) {
            self.warn(name, "is not read; set proxy.upstream_ca_file to a private CA");
        }
    }

    /// A number that is none, or too large to make sense, is warned about and is as if it were not set.
    fn number(&mut self, name: &str, (preset, most): (u64, u64)) -> u64 {
        let Some(text) = self.get(name) else { return preset };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.unwrap_or_else(|| {
            self.warn(
                name,
                &format!("is not a whole number from 1 to {most}; {preset} it is"),
            );
            preset
        })
    }

    fn millis(&mut self, name: &str, bounds: (u64, u64)) -> Duration {
        Duration::from_millis(self.number(name, bounds))
    }

    fn count(&mut self, name: &str, bounds: (u64, u64)) -> usize {
        // The bounds are far below what any platform can count to.
        usize::try_from(self.number(name, bounds)).unwrap_or(usize::MAX)
    }

    /// Of entries `key=value`, percent-encoded, by commas. They may be keys to the collector, and are not quoted.
    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((name, text)) = self.first(HEADERS) else {
            return headers;
        };
        for (place, entry) in entries(&text).enumerate() {
            let header = entry.and_then(|(key, value)| {
                let key = HeaderName::try_from(key).ok()?;
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                Some((key, value))
            });
            if let Some((key, value)) = header {
                headers.insert(key, value);
            } else {
                let number = place + 1;
                let what = format!("entry {number} is no header, written key=value, and is left out");
                self.warn(name, &what);
            }
        }
        headers
    }

    /// What the spans are of. Of two values for one key the later wins.
    fn resource(&mut self) -> Vec<(String, String)> {
        let mut resource = vec![
            (SERVICE.to_owned(), "snaptrade-sidecar".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        for entry in self.get(RESOURCE).iter().flat_map(|text| entries(text)) {
            match entry {
                Some(entry) => resource.push(entry),
                None => self.warn(RESOURCE, "has an entry that is not key=value; it is left out"),
            }
        }
        let service = self.get("OTEL_SERVICE_NAME");
        resource.extend(service.map(|name| (SERVICE.to_owned(), name)));
        resource
    }

    fn sampler(&mut self) -> Sampler {
        let text = self.get(SAMPLER);
        let text = text.as_deref().unwrap_or("parentbased_always_on");
        let (parent_based, root) = match text.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, text),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => {
                self.warn(
                    SAMPLER,
                    "is not a sampler that the sidecar has; parentbased_always_on it is",
                );
                return Sampler::new(true, 1.0);
            }
        };
        Sampler::new(parent_based, ratio)
    }

    fn ratio(&mut self) -> f64 {
        let Some(text) = self.get(SAMPLER_ARG) else {
            return 1.0;
        };
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.unwrap_or_else(|| {
            self.warn(SAMPLER_ARG, "is not a number from 0 to 1; 1 it is");
            1.0
        })
    }
}

/// `key=value` each, with commas between; `None` for one that is not.
fn entries(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| {
        let (key, value) = entry.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
    })
}
