//! The words in which calls are described.

use http::StatusCode;
use http::header::{self, HeaderName};
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, HeaderBuilder, HttpMethod, InfoBuilder, LicenseBuilder, ObjectBuilder,
    OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
};

use super::calls;
use crate::ops::problem::Body;

pub(super) const JSON: &str = "application/json";

const DESCRIPTION: &str = "Health, metrics, status, users and journal of each tenant, what is done by hand, and the dashboard. \
    Every refusal is a `Problem`; what is no HTTP gets 400, 414 or 431 without a body. `Host` has to be an IP address, \
    `localhost` or one of `ops.hosts`; an `Origin`, if there is one, the same or one that is allowed.";

const TOKEN: &str = "token";
const TOKEN_DESCRIPTION: &str = "`ops.token`. Where none is configured, who asks over loopback may read without one, and \
    nothing can be changed.";

/// A status by which calls are refused.
struct Refusal {
    status: StatusCode,
    /// Among the components.
    name: &'static str,
    description: &'static str,
    /// One that comes with it, or may.
    header: Option<HeaderName>,
}

const REFUSALS: [Refusal; 10] = [
    Refusal {
        status: StatusCode::BAD_REQUEST,
        name: "BadRequest",
        description: "What was sent is not what is expected.",
        header: None,
    },
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        name: "Unauthorized",
        description: "The token is missing or wrong. After wrong ones, answers to tokens wait, 2 s at most.",
        header: Some(header::WWW_AUTHENTICATE),
    },
    Refusal {
        status: StatusCode::FORBIDDEN,
        name: "Forbidden",
        description: "The `Origin` is foreign; or no token is configured, and without one nothing can be changed, nor read \
            from elsewhere.",
        header: None,
    },
    Refusal {
        status: StatusCode::NOT_FOUND,
        name: "NotFound",
        description: "There is no such tenant, user or file.",
        header: None,
    },
    Refusal {
        status: StatusCode::CONFLICT,
        name: "Conflict",
        description: "The user is protected, or an earlier deletion is not settled.",
        header: Some(header::RETRY_AFTER),
    },
    Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        name: "TooLong",
        description: "The body is over 64 KiB.",
        header: None,
    },
    Refusal {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        name: "NotJson",
        description: "The body is not sent as JSON.",
        header: None,
    },
    Refusal {
        status: StatusCode::MISDIRECTED_REQUEST,
        name: "UnknownHost",
        description: "The ops plane does not answer to this `Host`.",
        header: None,
    },
    Refusal {
        status: StatusCode::BAD_GATEWAY,
        name: "BadGateway",
        description: "SnapTrade did not do what was asked of it.",
        header: Some(header::RETRY_AFTER),
    },
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        name: "Unavailable",
        description: "Not now: the registry is down, too much is under way, or the sidecar was told to stop.",
        header: Some(header::RETRY_AFTER),
    },
];

/// The whole description.
pub(super) fn text() -> String {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new();
    for (method, path, about) in calls::all() {
        let method = match method {
            "POST" => HttpMethod::Post,
            _ => HttpMethod::Get,
        };
        paths = paths.path(path, PathItem::new(method, about.operation));
        components = components.schemas_from_iter(about.schemas);
    }
    for refusal in REFUSALS {
        components = components.response(refusal.name, problem(refusal.description, refusal.header));
    }
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(TOKEN_DESCRIPTION));
    let components = components
        .schema_from::<Body<'_>>()
        .security_scheme(TOKEN, SecurityScheme::Http(token.build()));
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT"));
    let info = InfoBuilder::new()
        .title("snaptrade-sidecar: the ops plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license.build()));
    let described = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths)
        .components(Some(components.build()));
    described.build().to_pretty_json().unwrap() + "\n"
}

/// The one shape of refusals.
fn problem(description: &str, header: Option<HeaderName>) -> ResponseBuilder {
    let problem = Ref::from_schema_name(Body::name());
    let response = ResponseBuilder::new()
        .description(description)
        .content(JSON, Content::new(Some(problem)));
    let Some(name) = header else { return response };
    let schema = if name == header::RETRY_AFTER {
        number().minimum(Some(1))
    } else {
        words()
    };
    let header = HeaderBuilder::new().schema(Some(schema));
    response.header(name.as_str(), header.build())
}

pub(super) fn words() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn number() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

/// What is said of a call.
pub(super) struct About {
    operation: OperationBuilder,
    /// Those that it refers to.
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl About {
    /// A call that anyone may make, by any name of the host.
    pub(super) fn probe(id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(summary));
        let about = Self {
            operation,
            schemas: Vec::new(),
        };
        about.refused(StatusCode::FORBIDDEN)
    }

    /// One that anyone may make.
    pub(super) fn open(id: &str, summary: &str) -> Self {
        Self::probe(id, summary).refused(StatusCode::MISDIRECTED_REQUEST)
    }

    /// One that needs the token, or that whoever is local may make where none is configured.
    pub(super) fn guarded(id: &str, summary: &str) -> Self {
        let mut about = Self::open(id, summary).refused(StatusCode::UNAUTHORIZED);
        about.operation = about.operation.security(token());
        about
    }

    /// Such a one, about the tenant in its path.
    pub(super) fn of_tenant(id: &str, summary: &str) -> Self {
        Self::guarded(id, summary).in_path("tenant", "The tenant's name.")
    }

    pub(super) fn or_with_token(mut self, more: &str) -> Self {
        let none = SecurityRequirement::default();
        self.operation = self.operation.security(none).security(token());
        self.told(more)
    }

    pub(super) fn told(mut self, more: &str) -> Self {
        self.operation = self.operation.description(Some(more));
        self
    }

    pub(super) fn in_path(self, name: &str, description: &str) -> Self {
        let place = (ParameterIn::Path, Required::True);
        self.parameter(name, place, description, words().min_length(Some(1)))
            .refused(StatusCode::NOT_FOUND)
    }

    pub(super) fn in_query(self, name: &str, description: &str, schema: ObjectBuilder) -> Self {
        let place = (ParameterIn::Query, Required::False);
        self.parameter(name, place, description, schema)
    }

    pub(super) fn tenant_in_query(self, description: &str) -> Self {
        self.in_query("tenant", description, words())
            .refused(StatusCode::NOT_FOUND)
    }

    /// A value that is none of its kind, or not UTF-8, is refused.
    fn parameter(
        mut self,
        name: &str,
        (place, required): (ParameterIn, Required),
        description: &str,
        schema: ObjectBuilder,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(description))
            .schema(Some(schema));
        self.operation = self.operation.parameter(parameter.build());
        self.refused(StatusCode::BAD_REQUEST)
    }

    /// A body of JSON, or none.
    pub(super) fn may_take<T: ToSchema>(mut self) -> Self {
        self.schemas.push((T::name().into_owned(), T::schema()));
        let body = RequestBodyBuilder::new()
            .content(JSON, Content::new(Some(Ref::from_schema_name(T::name()))))
            .required(Some(Required::False));
        self.operation = self.operation.request_body(Some(body.build()));
        self.refused(StatusCode::PAYLOAD_TOO_LARGE)
            .refused(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }

    /// What is answered with 200, as JSON.
    pub(super) fn answers<T: ToSchema>(self, description: &str) -> Self {
        self.answers_by::<T>(StatusCode::OK, description)
    }

    pub(super) fn answers_by<T: ToSchema>(mut self, status: StatusCode, description: &str) -> Self {
        let mut schemas = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut schemas);
        let whole = schemas.into_iter().map(|(name, schema)| (name, whole(schema)));
        self.schemas.extend(whole);
        let content = Content::new(Some(Ref::from_schema_name(T::name())));
        let response = ResponseBuilder::new()
            .description(description)
            .content(JSON, content);
        self.response(status.as_str(), response)
    }

    /// What is answered with 200, in one of several types.
    pub(super) fn answers_as<const N: usize>(
        self,
        contents: [(&str, RefOr<Schema>); N],
        description: &str,
    ) -> Self {
        let response = ResponseBuilder::new().description(description);
        let response = contents.into_iter().fold(response, |response, (kind, schema)| {
            response.content(kind, Content::new(Some(schema)))
        });
        self.response(StatusCode::OK.as_str(), response)
    }

    /// By a status that is described once for all calls.
    pub(super) fn refused(mut self, status: StatusCode) -> Self {
        if let Some(refusal) = REFUSALS.iter().find(|refusal| refusal.status == status) {
            let described = Ref::from_response_name(refusal.name);
            self.operation = self.operation.response(status.as_str(), described);
        }
        self
    }

    /// By statuses of somebody else's, such as `4XX`.
    pub(super) fn refused_by_range(self, range: &str, description: &str) -> Self {
        // Theirs may be a date.
        let again = HeaderBuilder::new().schema(Some(words()));
        let problem = problem(description, None).header(header::RETRY_AFTER.as_str(), again.build());
        self.response(range, problem)
    }

    pub(super) fn response(mut self, status: &str, response: ResponseBuilder) -> Self {
        self.operation = self.operation.response(status, response.build());
        self
    }
}

/// What may be null is there all the same, in every answer; what may be left out is never null.
fn whole(mut schema: RefOr<Schema>) -> RefOr<Schema> {
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        let nullable = object.properties.iter().filter(|(_, schema)| may_be_null(schema));
        object.required.extend(nullable.map(|(name, _)| name.clone()));
    }
    schema
}

fn may_be_null(schema: &RefOr<Schema>) -> bool {
    let RefOr::T(schema) = schema else { return false };
    match schema {
        Schema::Object(object) => has_null(&object.schema_type),
        Schema::Array(array) => has_null(&array.schema_type),
        Schema::OneOf(of) => of.items.iter().any(may_be_null),
        _ => false,
    }
}

fn has_null(types: &SchemaType) -> bool {
    match types {
        SchemaType::Type(one) => *one == Type::Null,
        SchemaType::Array(several) => several.contains(&Type::Null),
        SchemaType::AnyValue => false,
    }
}

fn token() -> SecurityRequirement {
    SecurityRequirement::new(TOKEN, [""; 0])
}
