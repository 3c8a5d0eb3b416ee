//! Java: properties that name the application, archives, modules, main classes.

use super::Line;
use crate::candidate::{Candidate, Source};
use crate::script::{self, is_common};

/// Options of java(1) that are followed by a value.
const VALUED: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--add-reads",
    "--add-exports",
    "--add-opens",
    "--patch-module",
    "--enable-native-access",
    "--source",
    "-d",
    "--describe-module",
    "--finalization",
    "--illegal-native-access",
];

/// Properties that name the application, in the order in which they are believed.
const PROPERTIES: &[&str] = &[
    "-Dotel.service.name=",
    "-Dspring.application.name=",
    "-Dquarkus.application.name=",
    "-Dmicronaut.application.name=",
    "-Ddd.service=",
];

/// Main classes of programs that people know under another name.
const KNOWN: &[(&str, &str)] = &[
    ("org.apache.catalina.startup.Bootstrap", "tomcat"),
    ("kafka.Kafka", "kafka"),
    (
        "org.apache.kafka.connect.cli.ConnectDistributed",
        "kafka-connect",
    ),
    (
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        "zookeeper",
    ),
    (
        "org.apache.zookeeper.server.ZooKeeperServerMain",
        "zookeeper",
    ),
    ("org.apache.cassandra.service.CassandraDaemon", "cassandra"),
    ("org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch"),
    ("org.opensearch.bootstrap.OpenSearch", "opensearch"),
    ("org.logstash.Logstash", "logstash"),
    ("org.jboss.modules.Main", "wildfly"),
    ("org.neo4j.server.Neo4jCommunity", "neo4j"),
    ("org.apache.activemq.artemis.boot.Artemis", "artemis"),
    (
        "org.gradle.launcher.daemon.bootstrap.GradleDaemon",
        "gradle",
    ),
    ("org.codehaus.plexus.classworlds.launcher.Launcher", "maven"),
];

/// Main classes that load an application that the command line doesn't name.
const LAUNCHERS: &[&str] = &[
    "org.springframework.boot.loader.",
    "io.quarkus.bootstrap.",
    "org.springframework.boot.loader.launch.",
];

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    // The last one counts; those of the environment stand before the command line's.
    let property = |wanted: &str| {
        let options = line.hints.java_options.iter().chain(line.arguments);
        let mut values = options.filter_map(|option| option.strip_prefix(wanted));
        values.next_back().filter(|value| !value.is_empty())
    };
    if let Some(name) = PROPERTIES.iter().find_map(|wanted| property(wanted)) {
        return Some(Candidate::new(name, Source::CommandLine));
    }
    let program = program(line.arguments);
    let rest = match &program {
        Some((_, rest)) => *rest,
        None => &[],
    };
    // Spring takes its properties as arguments and from the environment, too.
    let argument = rest
        .iter()
        .find_map(|it| it.strip_prefix("--spring.application.name="));
    let spring = argument.or(line.hints.spring_application.as_deref());
    if let Some(name) = spring.filter(|name| !name.is_empty()) {
        return Some(Candidate::new(name, Source::CommandLine));
    }
    match program?.0 {
        Program::Jar(path) => jar(path, line),
        Program::Class(class) => main_class(class, line),
        // `java Shop.java`: a class by its source.
        Program::File(path) => {
            script::candidate(path.strip_suffix(".java")?, line.cwd, Source::MainClass)
        }
    }
}

/// What the virtual machine is told to run.
enum Program<'a> {
    Jar(&'a str),
    Class(&'a str),
    File(&'a str),
}

fn program(arguments: &[String]) -> Option<(Program<'_>, &[String])> {
    let mut rest = arguments;
    while let [argument, behind @ ..] = rest {
        rest = behind;
        let argument = argument.as_str();
        match argument {
            "-jar" => {
                let (path, rest) = rest.split_first()?;
                return Some((Program::Jar(path), rest));
            }
            "-m" | "--module" => {
                let (module, rest) = rest.split_first()?;
                return Some((Program::Class(module), rest));
            }
            _ if VALUED.contains(&argument) => rest = rest.get(1..).unwrap_or_default(),
            _ => {
                if let Some(module) = argument.strip_prefix("--module=") {
                    return Some((Program::Class(module), rest));
                }
                // What a file of arguments says isn't known.
                if !argument.starts_with(['-', '@']) {
                    let program = if argument.ends_with(".java") {
                        Program::File(argument)
                    } else {
                        Program::Class(argument)
                    };
                    return Some((program, rest));
                }
            }
        }
    }
    None
}

fn jar(path: &str, line: &Line<'_>) -> Option<Candidate> {
    // Surefire's and its like are made for one start.
    let file = path.rsplit('/').next().unwrap_or(path);
    if file.starts_with("surefirebooter") {
        return None;
    }
    script::candidate(path, line.cwd, Source::Jar)
}

/// `com.example.shop.Main` → `shop.Main`, `com.example.OrderService` → `OrderService`,
/// `com.shop/com.shop.Main` likewise.
fn main_class(class: &str, line: &Line<'_>) -> Option<Candidate> {
    let (module, class) = match class.split_once('/') {
        Some((module, class)) => (Some(module), class),
        None => (None, class),
    };
    let known = KNOWN.iter().find(|(main, _)| *main == class);
    if let Some((_, name)) = known {
        return Some(Candidate::new(*name, Source::MainClass));
    }
    if LAUNCHERS.iter().any(|launcher| class.starts_with(launcher)) {
        return Some(Candidate::new(line.project()?, Source::MainClass));
    }
    let (package, simple) = class.rsplit_once('.').unwrap_or(("", class));
    // An inner class, and the class that Kotlin makes of a file.
    let simple = simple.split('$').next().unwrap_or(simple);
    let simple = simple
        .strip_suffix("Kt")
        .filter(|it| !it.is_empty())
        .unwrap_or(simple);
    if simple.is_empty() {
        return None;
    }
    if !is_common(simple) {
        return Some(Candidate::new(simple, Source::MainClass));
    }
    let package = Some(package).filter(|it| !it.is_empty()).or(module);
    let last = package.and_then(|package| package.rsplit('.').find(|part| !is_common(part)));
    Some(match last {
        Some(last) => Candidate::new(format!("{last}.{simple}"), Source::MainClass),
        None => Candidate::weak(simple, Source::MainClass),
    })
}
