use std::collections::HashSet;

use super::*;

/// Checks targets of all forms against the routes that people would give them.
#[test]
fn routes_of_targets() {
    let table = [
        ("/", "/"),
        ("/users/42/orders/7", "/users/{id}/orders/{id}"),
        ("/users/42?token=x", "/users/{id}"),
        ("/users/42/#x", "/users/{id}"),
        ("//users///42/", "/users/{id}"),
        ("http://joe:pw@h:80/users/9?x", "/users/{id}"),
        ("http://h", "/"),
        ("*", "*"),
        ("h:443", OTHER),
        ("", OTHER),
        ("/static/app.3f2a.js", "/static/app.{id}.js"),
        ("/api/v1/x", "/api/v1/x"),
        ("/users/joe@example.com", "/users/{id}"),
        ("/a%2Fb/c", "/{id}/c"),
        ("/\u{0}\u{fffd}/c", "/{id}/c"),
        ("/a/b/c/d/e/f/g/h/i/j/k/l", "/a/b/c/d/e/f/g/h/i/j/{other}"),
    ];
    let mut routes = Routes::new();
    // Twice: from the tree and as remembered.
    for _ in 0..2 {
        for (target, expected) in table {
            assert_eq!(
                &*routes.route(WorkloadId(1), target),
                expected,
                "{target:?}"
            );
        }
    }
}

/// Checks that a route is one string, per workload.
#[test]
fn one_route_is_one_string() {
    let mut routes = Routes::new();
    let first = routes.route(WorkloadId(1), "/users/1");
    assert!(Arc::ptr_eq(
        &first,
        &routes.route(WorkloadId(1), "/users/2")
    ));
    assert!(Arc::ptr_eq(
        &first,
        &routes.route(WorkloadId(1), "/users/1?a")
    ));
    assert_eq!(routes.route(WorkloadId(2), "/users/1"), first);
}

/// Checks that names become things when there are too many of them, and that
/// those that had a route keep it.
#[test]
fn many_names_collapse() {
    let mut routes = Routes::new();
    let name = |i: usize| format!("/people/{}", name(i));
    for i in 0..tree::CHILDREN {
        assert_eq!(*routes.route(WorkloadId(1), &name(i)), *name(i));
    }
    for i in tree::CHILDREN..1000 {
        assert_eq!(&*routes.route(WorkloadId(1), &name(i)), "/people/{id}");
    }
    for i in 0..tree::CHILDREN {
        assert_eq!(*routes.route(WorkloadId(1), &name(i)), *name(i));
    }
}

/// A word of letters for a number.
fn name(mut i: usize) -> String {
    let mut out = String::from("n");
    loop {
        out.push(char::from(b'a' + (i % 26) as u8));
        i /= 26;
        if i == 0 {
            return out;
        }
    }
}

/// Checks that 100,000 random paths give no more routes than the limit, that
/// each stays what it was, and that another workload isn't touched.
#[test]
fn routes_are_bounded() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut routes = Routes::new();
    let mut given: Vec<(String, Arc<str>)> = Vec::new();
    let mut distinct = HashSet::new();
    for i in 0..100_000 {
        let path: String = (0..random.usize(1..14))
            .map(|_| format!("/{}", name(random.usize(0..100_000))))
            .collect();
        let route = routes.route(WorkloadId(1), &path);
        distinct.insert(route.to_string());
        if i % 100 == 0 {
            given.push((path, route));
        }
    }
    assert!(distinct.len() <= tree::ROUTES + 1, "{}", distinct.len());
    assert!(distinct.contains(OTHER));
    for (path, route) in given.iter().take(50) {
        assert_eq!(routes.route(WorkloadId(1), path), *route, "{path}");
    }
    assert_eq!(&*routes.route(WorkloadId(2), "/users"), "/users");
}

/// Checks that what isn't there can't take all routes.
#[test]
fn not_found_takes_few_routes() {
    let mut routes = Routes::new();
    for i in 0..1000 {
        routes.route_not_found(WorkloadId(1), &format!("/{}/{}", name(i % 30), name(i)));
    }
    assert_eq!(&*routes.route_not_found(WorkloadId(1), "/later"), OTHER);
    assert_eq!(&*routes.route(WorkloadId(1), "/later"), "/later");
    assert_eq!(&*routes.route_not_found(WorkloadId(1), "/later"), "/later");
}

/// Checks that the user's patterns win, and that hidden segments don't show.
#[test]
fn configured_routes() {
    let patterns = vec!["/api/{tenant}/**".parse().expect("a pattern")];
    let rules = [
        "/reset/*".parse().expect("a rule"),
        "*joe*".parse().expect("a rule"),
    ];
    let mut routes = Routes::configured(patterns, Arc::new(Redactor::new(&rules, &[])));
    assert_eq!(
        &*routes.route(WorkloadId(1), "/api/acme/x"),
        "/api/{tenant}/**"
    );
    assert_eq!(
        &*routes.route(WorkloadId(1), "/reset/hunter"),
        "/reset/{id}"
    );
    assert_eq!(
        &*routes.route(WorkloadId(1), "/people/joe.jpg"),
        "/people/{id}"
    );
}
