//! The later source wins.

use super::*;

const LISTEN: &str = "SNAPTRADE_SIDECAR__PROXY__LISTEN";

fn listen(scene: &Scene) -> String {
    scene.load().config.proxy.listen.to_string()
}

#[test]
fn file_then_environment_then_flags() {
    let scene = Scene::minimal().file("[proxy]\nlisten = \"127.0.0.1:1\"");
    assert_eq!(listen(&scene), "127.0.0.1:1");
    let scene = scene.env((LISTEN, "127.0.0.1:2"));
    assert_eq!(listen(&scene), "127.0.0.1:2");
    let scene = scene.flag("proxy.listen", "127.0.0.1:3");
    assert_eq!(listen(&scene), "127.0.0.1:3");
    let scene = scene.flag("proxy.listen", "127.0.0.1:4");
    assert_eq!(listen(&scene), "127.0.0.1:4");
}

#[test]
fn what_stands_in_the_file_in_vain_is_known_with_what_goes_over_it() {
    let scene = Scene::minimal().file(
        "[proxy]\nlisten = \"127.0.0.1:1\"\n[ops]\nlisten = \"127.0.0.1:2\"\n[log]\nlevel = \"warn\"\n\
         [tenants.default]\nmax_users = 9\nconsumer_key_file = \"key\"",
    );
    let scene = scene
        .env((LISTEN, "127.0.0.1:3"))
        .env(("SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS", "8"))
        .env(("SNAPTRADE_SIDECAR__TENANTS__DEFAULT__QUEUE_MAX", "7"))
        .flag("ops.listen", "127.0.0.1:4")
        .flag("proxy.listen", "127.0.0.1:5");
    let overridden = scene.load().overridden;
    let told = overridden.iter().map(|(key, by)| format!("{key} by {by}"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "ops.listen by command line",
            "proxy.listen by command line",
            "tenants.default.consumer_key_file by environment variable SNAPTRADE_CONSUMER_KEY",
            "tenants.default.max_users by environment variable SNAPTRADE_SIDECAR__TENANTS__DEFAULT__MAX_USERS",
        ]
    );
}

#[test]
fn port_beats_the_file_and_the_default_only() {
    let port = ("PORT", "3000");
    assert_eq!(listen(&Scene::minimal().env(port)), "0.0.0.0:3000");
    let file = Scene::minimal()
        .file("[proxy]\nlisten = \"127.0.0.1:1\"")
        .env(port);
    assert_eq!(listen(&file), "0.0.0.0:3000");
    assert_eq!(
        listen(&Scene::minimal().env((LISTEN, "127.0.0.1:2")).env(port)),
        "127.0.0.1:2"
    );
    assert_eq!(
        listen(&Scene::minimal().flag("proxy.listen", "127.0.0.1:3").env(port)),
        "127.0.0.1:3"
    );
    let of_the_application = Scene::minimal()
        .env((LISTEN, "127.0.0.1:2"))
        .env(("PORT", "/run/app.sock"));
    assert_eq!(listen(&of_the_application), "127.0.0.1:2");
}

#[test]
fn an_empty_short_variable_is_none() {
    let scene = Scene::minimal()
        .env(("PORT", ""))
        .env(("FRONTEND_URL", ""))
        .env(("SNAPTRADE_SIDECAR_CONFIG", ""));
    assert_eq!(listen(&scene), "127.0.0.1:8080");
    assert!(scene.load().config.ops.allowed_origins.is_empty());
}

/// As compose's `${X:-}` sets every variable that it may.
#[test]
fn an_empty_variable_leaves_every_key_as_it_is() {
    let written = "[proxy]\nhealth_paths = false\n[tenants.default]\nmax_users = 9\nconsumer_key = \"k\"\n\
                   [tenants.default.eviction]\nprotect = [\"vip-*\"]\nmin_age = \"1d\"\nmode = \"observe\"";
    let of_file = Scene::new().env(ID).file(written).load();
    let mut scene = Scene::new().env(ID).file(written);
    let mut section = String::new();
    for line in reference().lines().filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if let Some((leaf, _)) = line.split_once(" = ") {
            let name = env::variable_name(&format!("{section}.{leaf}"));
            scene = scene.env((&name, ""));
        }
    }
    assert!(scene.sources.env.len() > 30);
    assert_eq!(
        format!("{:?}", scene.load().config),
        format!("{:?}", of_file.config)
    );
}

#[test]
fn an_empty_text_leaves_every_key_of_a_file_unset() {
    let bare = Scene::minimal().load();
    let emptied: String = reference()
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some((key, _)) if !line.starts_with('#') => format!("{key} = \"\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let with_file = Scene::minimal().file(&emptied).load();
    assert_eq!(format!("{:?}", with_file.config), format!("{:?}", bare.config));
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let scene = Scene::minimal();
    let other = scene.write("other.toml", "[proxy]\nlisten = \"127.0.0.1:1\"");
    let scene = scene.env(("SNAPTRADE_SIDECAR_CONFIG", other.to_str().unwrap()));
    assert_eq!(listen(&scene), "127.0.0.1:1");
    let scene = scene.file("[proxy]\nlisten = \"127.0.0.1:2\"");
    assert_eq!(listen(&scene), "127.0.0.1:2");
}

#[test]
fn frontend_url_is_one_more_origin() {
    let origins = |scene: &Scene| -> Vec<String> {
        scene
            .load()
            .config
            .ops
            .allowed_origins
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let url = ("FRONTEND_URL", "https://app.example.com/login?next=/");
    assert_eq!(origins(&Scene::minimal().env(url)), ["https://app.example.com"]);
    let listed = Scene::minimal()
        .file("[ops]\nallowed_origins = [\"https://a.b\"]")
        .env(url);
    assert_eq!(origins(&listed), ["https://a.b", "https://app.example.com"]);
    let twice = listed.flag("ops.allowed_origins", "https://app.example.com");
    assert_eq!(origins(&twice), ["https://app.example.com"]);
}

#[test]
fn the_short_variables_describe_the_tenant_default() {
    let scene = Scene::minimal()
        .file("[tenants.default]\nclient_id = \"file\"\nmax_users = 9\n[tenants.b]\nclient_id = \"b\"\nconsumer_key = \"k\"")
        .env(("SNAPTRADE_SIDECAR__TENANTS__DEFAULT__CLIENT_ID", "long"));
    let tenants = scene.load().config.tenants;
    let shown: Vec<_> = tenants
        .iter()
        .map(|t| (&*t.name, t.client_id.as_str(), t.terms.max_users))
        .collect();
    assert_eq!(shown, [("b", "b", 5), ("default", "long", 9)]);
}

#[test]
fn variables_find_the_tenant_that_the_file_names() {
    let scene = Scene::new()
        .file("[tenants.My-App]\nclient_id = \"a\"\nconsumer_key = \"k\"")
        .env(("SNAPTRADE_SIDECAR__TENANTS__MY_APP__MAX_USERS", "20"))
        .env((
            "SNAPTRADE_SIDECAR__TENANTS__MY_APP__EVICTION__PROTECT",
            "vip-*, demo-1",
        ))
        .env((
            "SNAPTRADE_SIDECAR__TENANTS__MY_APP__EVICTION__EVICTABLE",
            "[\"a,b\", \"*\"]",
        ));
    let Loaded { config, .. } = scene.load();
    let [tenant] = config.tenants.as_slice() else {
        panic!("{:?}", config.tenants)
    };
    assert_eq!((&*tenant.name, tenant.terms.max_users), ("My-App", 20));
    assert_eq!(tenant.terms.policy.protect.sources(), ["vip-*", "demo-1"]);
    assert_eq!(tenant.terms.policy.evictable.sources(), ["a,b", "*"]);
}

#[test]
fn the_print_out_says_that_max_users_is_assumed_and_does_not_set_it() {
    let told = "# max_users = 5, and not set: a registration evicts one at most\n";
    let loaded = Scene::minimal().load();
    let shown = loaded.effective.to_string();
    assert!(shown.contains(told), "{shown}");
    assert_eq!(loaded.config.tenants[0].terms.max_per_registration, 1);
    let again = Scene::minimal().file(&shown.replace("[redacted]", "k")).load();
    assert_eq!(again.config.tenants[0].terms.max_per_registration, 1);
    let set = Scene::minimal().file("[tenants.default]\nmax_users = 5").load();
    assert_eq!(set.config.tenants[0].terms.max_per_registration, 3);
    assert!(!set.effective.to_string().contains(told));
}

#[test]
fn the_print_out_names_the_source_of_what_is_not_a_default() {
    let scene = Scene::minimal()
        .file("[ops]\nhosts = []\nallowed_origins = [\"https://a.b\"]\n[tenants.default]\nmax_users = 9")
        .env(("FRONTEND_URL", "https://c.d"))
        .flag("log.level", "debug");
    let shown = scene.relative(&scene.load().effective.to_string());
    for line in [
        "[proxy]",
        "listen = \"127.0.0.1:8080\"",
        "hosts = [] # sidecar.toml:2",
        "allowed_origins = [\"https://a.b\", \"https://c.d\"] # sidecar.toml:3, environment variable FRONTEND_URL",
        "level = \"debug\" # command line",
        "[tenants.default]",
        "client_id = \"acme-id\" # environment variable SNAPTRADE_CLIENT_ID",
        "consumer_key = \"[redacted]\" # environment variable SNAPTRADE_CONSUMER_KEY",
        "consumer_key_file = \"\"",
        "max_users = 9 # sidecar.toml:5",
        "[tenants.default.eviction]",
        "settle_timeout = \"20s\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is not in\n{shown}"
        );
    }
    let again = Scene::new().file(&shown.replace("[redacted]", "s3cret"));
    let config = again.load().config;
    assert_eq!(config.tenants[0].terms.max_users, 9);
    assert_eq!(config.ops.allowed_origins.len(), 2);
}

#[test]
fn a_variable_that_resembles_no_key_may_be_the_applications() {
    let scene = Scene::minimal().env(("SNAPTRADE_SIDECAR_URL", "http://127.0.0.1:8080"));
    assert_eq!(
        scene.warnings(),
        ["environment variable SNAPTRADE_SIDECAR_URL is not read"]
    );
}

/// An application that the program starts, with its port in the process's environment or in a `.env` file.
#[test]
fn an_application_beside_keeps_its_port_and_leaves_others_to_the_system() {
    let port = ("PORT", "8080");
    let beside = |mut scene: Scene| {
        scene.sources.starts_application = true;
        let loaded = scene.load();
        assert_eq!(loaded.warnings, [] as [&str; 0]);
        let (proxy, ops) = (loaded.config.proxy, loaded.config.ops);
        assert_eq!(proxy.drain_delay, std::time::Duration::ZERO);
        (proxy.listen.to_string(), ops.listen.to_string())
    };
    let chosen = |proxy: &str, ops: &str| (proxy.to_owned(), ops.to_owned());
    assert_eq!(
        beside(Scene::minimal().env(port)),
        chosen("127.0.0.1:0", "127.0.0.1:0")
    );
    let mut scene = Scene::minimal();
    scene.sources.env_file = Some(scene.write(".env", "PORT=8080\n"));
    assert_eq!(beside(scene), chosen("127.0.0.1:0", "127.0.0.1:0"));
    // What was said in earnest stays.
    let said = Scene::minimal()
        .env(port)
        .file("[proxy]\nlisten = \"127.0.0.1:81\"\ndrain_delay = \"5s\"\n[ops]\nlisten = \"0.0.0.0:82\"\n");
    assert_eq!(beside(said), chosen("127.0.0.1:81", "0.0.0.0:82"));
    let said = Scene::minimal()
        .flag("proxy.listen", "127.0.0.1:83")
        .env(("SNAPTRADE_SIDECAR__OPS__LISTEN", "127.0.0.1:84"));
    assert_eq!(beside(said), chosen("127.0.0.1:83", "127.0.0.1:84"));
}

#[test]
fn the_variable_that_an_application_beside_finds_us_by_is_known() {
    let scene = Scene::minimal().env((OPS_URL, "http://127.0.0.1:9090"));
    assert_eq!(scene.warnings(), [] as [&str; 0]);
}
