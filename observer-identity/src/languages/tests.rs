//! Checks what command lines of interpreters are called after.

use super::*;

/// What `command` with its first word for an executable is called: name, source, and
/// whether it is a last resort. Words are separated by blanks, or by `|` where a word has
/// blanks itself.
fn ran(command: &str, cwd: &str, environ: &str) -> Option<(String, Source, bool)> {
    let separator = if command.contains('|') { '|' } else { ' ' };
    let arguments: Vec<String> = command.split(separator).map(str::to_owned).collect();
    let hints = Hints::from_environ(environ.replace(' ', "\0").as_bytes());
    let program = arguments[0].rsplit('/').next().expect("a name");
    let language = Language::of(program).expect("a language");
    let cwd = Some(cwd).filter(|cwd| !cwd.is_empty());
    let found = language.candidate(&arguments, cwd, &hints)?;
    Some((found.name, found.source, found.is_weak))
}

/// What a process of `executable` with a title of its own is called.
fn titled(executable: &str, title: &str, cwd: &str) -> Option<(String, bool)> {
    let language = Language::of(executable).expect("a language");
    let arguments = [title.to_owned(), String::new()];
    let found = language.candidate(&arguments, Some(cwd), &Hints::default())?;
    Some((found.name, found.is_weak))
}

/// One command line, where it runs, and what it is called.
type Row = (&'static str, &'static str, Option<(&'static str, Source)>);

fn check(table: &[Row]) {
    for (command, cwd, expected) in table {
        let found = ran(command, cwd, "");
        let expected = expected.map(|(name, source)| (name.to_owned(), source, false));
        assert_eq!(found, expected, "{command}");
    }
}

/// Checks Python: scripts, modules, code, servers by module or by script.
#[test]
fn python() {
    use Source::{CommandLine, Module, Script};
    check(&[
        (
            "python3 /srv/shop/orders.py --port 80",
            "/",
            Some(("orders", Script)),
        ),
        (
            "python3.11 -u -W ignore orders.py",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        (
            "python3 -X dev -uB main.py",
            "/srv/shop",
            Some(("shop/main", Script)),
        ),
        (
            "python3 manage.py runserver",
            "/srv/shop",
            Some(("shop/manage", Script)),
        ),
        (
            "python3 -m http.server 8000",
            "/srv",
            Some(("http.server", Module)),
        ),
        ("python3 -um shop.jobs", "/srv", Some(("shop.jobs", Module))),
        ("python3 -mshop", "/srv", Some(("shop", Module))),
        ("python3 -m app", "/srv/shop", Some(("shop/app", Module))),
        ("python3 -m shop.__main__", "/srv", Some(("shop", Module))),
        ("python3|-c|import x", "/srv/shop", None),
        ("python3 -", "/srv/shop", None),
        ("python3", "/srv/shop", None),
        (
            "python3 -m gunicorn app:app",
            "/srv/shop",
            Some(("shop", Module)),
        ),
        (
            "python3 /usr/bin/gunicorn -w 4 shop.wsgi",
            "/",
            Some(("shop", Module)),
        ),
        (
            "python3 /usr/bin/gunicorn -b 0.0.0.0:80 shop.wsgi:application",
            "/",
            Some(("shop", Module)),
        ),
        (
            "python3 /usr/bin/gunicorn -n till app:app",
            "/srv/shop",
            Some(("till", CommandLine)),
        ),
        (
            "python3 /v/bin/uvicorn shop.main:app --port 80",
            "/",
            Some(("shop", Module)),
        ),
        (
            "python3 -m uvicorn main:app --host 0.0.0.0",
            "/srv/shop",
            Some(("shop", Module)),
        ),
        (
            "python3 /v/bin/celery -A shop worker -l info",
            "/",
            Some(("shop/celery", Module)),
        ),
        (
            "python3 /v/bin/celery --app=shop.tasks beat",
            "/",
            Some(("shop.tasks/celery", Module)),
        ),
        (
            "python3 /v/bin/flask --app shop run",
            "/",
            Some(("shop", Module)),
        ),
        (
            "python3 /v/bin/opentelemetry-instrument python -m shop",
            "/",
            Some(("shop", Module)),
        ),
        (
            "uwsgi --ini /etc/uwsgi/apps-enabled/shop.ini",
            "/",
            Some(("shop", Module)),
        ),
        (
            "uwsgi --http :80 --module shop.wsgi:application",
            "/",
            Some(("shop", Module)),
        ),
        (
            "uwsgi --procname-prefix shop --wsgi-file x.py",
            "/",
            Some(("shop", CommandLine)),
        ),
    ]);
}

/// Checks Node and its like: options with values, runners, package managers.
#[test]
fn node() {
    use Source::{CommandLine, Script};
    check(&[
        ("node server.js", "/srv/shop", Some(("shop/server", Script))),
        (
            "node --require ./tracing.js server.js",
            "/srv/shop",
            Some(("shop/server", Script)),
        ),
        (
            "node --require=./t.js --max-old-space-size=9 orders.mjs",
            "/srv",
            Some(("orders", Script)),
        ),
        (
            "node --inspect -r dotenv/config dist/main.js",
            "/srv/shop",
            Some(("shop/main", Script)),
        ),
        ("node .", "/srv/shop", Some(("shop/index", Script))),
        ("node dist", "/srv/shop", Some(("shop/index", Script))),
        ("node -e 1+1 x.js", "/srv/shop", None),
        ("node", "/srv/shop", None),
        (
            "node --title=till server.js",
            "/srv/shop",
            Some(("till", CommandLine)),
        ),
        (
            "node /srv/shop/node_modules/.bin/tsx src/orders.ts",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        (
            "node /srv/shop/node_modules/tsx/dist/cli.mjs src/index.ts",
            "/srv/shop",
            Some(("shop/index", Script)),
        ),
        (
            "node /srv/shop/node_modules/.bin/next start",
            "/srv/shop",
            Some(("shop/next", Script)),
        ),
        ("bun run orders.ts", "/srv/shop", Some(("orders", Script))),
        (
            "deno run --allow-net orders.ts",
            "/srv/shop",
            Some(("orders", Script)),
        ),
    ]);
    let npm = "npm_package_name=@acme/shop";
    let found = ran("node server.js", "/app", npm);
    assert_eq!(found, Some(("shop/server".into(), Script, false)));
    let weak = ran("node server.js", "/app", "");
    assert_eq!(weak, Some(("server".into(), Script, true)));
    let pm2 = ran(
        "node /usr/lib/node_modules/pm2/lib/ProcessContainer.js",
        "/",
        "name=shop pm_id=0",
    );
    assert_eq!(pm2, Some(("shop".into(), CommandLine, false)));
}

/// Checks Java: properties, archives, modules and main classes behind options with values.
#[test]
fn java() {
    use Source::{CommandLine, Jar, MainClass};
    check(&[
        ("java -jar shop-1.2.3.jar", "/srv", Some(("shop", Jar))),
        (
            "java -Xmx1g -jar /srv/shop-1.2.3-SNAPSHOT.jar --port=80",
            "/",
            Some(("shop", Jar)),
        ),
        ("java -jar app.jar", "/srv/shop", Some(("shop/app", Jar))),
        (
            "java -jar /srv/shop/quarkus-app/quarkus-run.jar",
            "/",
            Some(("shop/quarkus-run", Jar)),
        ),
        (
            "java -cp a.jar:b.jar -Dx=y com.example.OrderService -jar x",
            "/",
            Some(("OrderService", MainClass)),
        ),
        (
            "java --class-path a.jar com.example.shop.Main",
            "/",
            Some(("shop.Main", MainClass)),
        ),
        (
            "java -cp a.jar com.example.shop.MainKt",
            "/",
            Some(("shop.Main", MainClass)),
        ),
        (
            "java @options --add-opens java.base/java.lang=ALL-UNNAMED x.Orders$Inner",
            "/",
            Some(("Orders", MainClass)),
        ),
        (
            "java -p mods -m com.shop/com.shop.till.Main",
            "/",
            Some(("till.Main", MainClass)),
        ),
        ("java --module=com.shop", "/", Some(("shop", MainClass))),
        ("java Orders.java", "/", Some(("Orders", MainClass))),
        (
            "java -Dspring.application.name=till -jar app.jar",
            "/",
            Some(("till", CommandLine)),
        ),
        (
            "java -Dotel.service.name=till -Dspring.application.name=x -jar app.jar",
            "/",
            Some(("till", CommandLine)),
        ),
        (
            "java -Dspring.application.name=a -Dspring.application.name=b -jar app.jar",
            "/",
            Some(("b", CommandLine)),
        ),
        (
            "java -jar app.jar --spring.application.name=till",
            "/",
            Some(("till", CommandLine)),
        ),
        (
            "java -cp x org.apache.catalina.startup.Bootstrap start",
            "/",
            Some(("tomcat", MainClass)),
        ),
        (
            "java -cp x org.springframework.boot.loader.launch.JarLauncher",
            "/srv/shop",
            Some(("shop", MainClass)),
        ),
        (
            "java -jar /tmp/surefire123/surefirebooter456.jar",
            "/",
            None,
        ),
        ("java -version", "/", None),
        ("java", "/", None),
    ]);
    let weak = ran("java -cp x Main", "/", "");
    assert_eq!(weak, Some(("Main".into(), MainClass, true)));
    let found = ran("java -jar app.jar", "/", "SPRING_APPLICATION_NAME=till");
    assert_eq!(found, Some(("till".into(), CommandLine, false)));
    let found = ran(
        "java -jar app.jar",
        "/",
        "JAVA_TOOL_OPTIONS=-Dspring.application.name=till",
    );
    assert_eq!(found, Some(("till".into(), CommandLine, false)));
}

/// Checks Ruby, PHP, Perl and shells.
#[test]
fn ruby_php_perl_and_shells() {
    use Source::{Module, Script};
    check(&[
        (
            "ruby -W0 -I lib orders.rb",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        (
            "ruby -Ilib -r json orders.rb",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        ("ruby -e puts", "/srv/shop", None),
        (
            "ruby bin/rails server",
            "/srv/shop",
            Some(("shop/rails", Script)),
        ),
        (
            "ruby /usr/bin/bundle exec puma -C config/puma.rb",
            "/srv/shop",
            Some(("shop", Module)),
        ),
        (
            "ruby /usr/bin/bundle exec sidekiq",
            "/srv/shop",
            Some(("shop/sidekiq", Module)),
        ),
        ("php orders.php", "/srv/shop", Some(("orders", Script))),
        (
            "php -d memory_limit=1G artisan queue:work",
            "/srv/shop",
            Some(("shop/artisan", Script)),
        ),
        (
            "php -dmemory_limit=1G -f orders.php",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        (
            "php bin/console messenger:consume",
            "/srv/shop",
            Some(("shop/console", Script)),
        ),
        (
            "php -S localhost:8000 -t public",
            "/srv/shop",
            Some(("shop", Script)),
        ),
        ("php -r 1;", "/srv/shop", None),
        (
            "perl -w -Ilib orders.pl",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        (
            "perl -I lib -MPOSIX orders.pl",
            "/srv/shop",
            Some(("orders", Script)),
        ),
        ("perl -wle 1", "/srv/shop", None),
        (
            "bash /usr/local/bin/backup.sh",
            "/",
            Some(("backup", Script)),
        ),
        ("sh -e ./run.sh", "/srv/shop", Some(("shop/run", Script))),
        ("bash -c x", "/srv/shop", None),
        ("bash -o pipefail backup.sh", "/", Some(("backup", Script))),
        ("bash", "/srv/shop", None),
        ("bash /dev/fd/63", "/srv/shop", None),
    ]);
}

/// Checks .NET and Erlang's virtual machine.
#[test]
fn dotnet_and_beam() {
    use Source::{Assembly, Release};
    check(&[
        ("dotnet Shop.Api.dll", "/srv", Some(("Shop.Api", Assembly))),
        (
            "dotnet exec --runtimeconfig x.json /app/Shop.dll",
            "/",
            Some(("Shop", Assembly)),
        ),
        (
            "dotnet run --project src/Shop/Shop.csproj",
            "/srv",
            Some(("Shop", Assembly)),
        ),
        ("dotnet run", "/srv/shop", Some(("shop", Assembly))),
        ("dotnet build x", "/srv/shop", None),
        (
            "beam.smp -- -root /x -progname erl -- -home /root -- -sname shop@host",
            "/",
            Some(("shop", Release)),
        ),
        (
            "beam.smp -- -root /x -progname opt/bin/shop -- -home /root",
            "/",
            Some(("shop", Release)),
        ),
        (
            "beam.smp -- -progname erl -- -boot /opt/shop/releases/0.1.0/start",
            "/",
            Some(("shop", Release)),
        ),
        (
            "beam.smp -- -progname erl -- -name rem-1a2b-shop@h",
            "/",
            None,
        ),
    ]);
    let found = ran("beam.smp -- -sname x", "/", "RELEASE_NAME=shop");
    assert_eq!(found, Some(("shop".into(), Release, false)));
}

/// Comm, command line, folder, and the name with whether it is weak.
type TitleRow = (
    &'static str,
    &'static str,
    &'static str,
    Option<(&'static str, bool)>,
);

/// Checks the titles that programs give themselves, and that what changes in them isn't a
/// name.
#[test]
fn titles() {
    let table: &[TitleRow] = &[
        (
            "python3",
            "gunicorn: master [shop]",
            "/",
            Some(("shop", false)),
        ),
        (
            "python3",
            "gunicorn: worker [shop.wsgi:application]",
            "/",
            Some(("shop", false)),
        ),
        (
            "python3",
            "gunicorn: worker [app:app]",
            "/srv/shop",
            Some(("shop", false)),
        ),
        (
            "python3",
            "gunicorn: worker [app:app]",
            "/app",
            Some(("gunicorn", true)),
        ),
        (
            "python3",
            "[celeryd: celery@host:MainProcess] -active- (-A shop worker -l info)",
            "/",
            Some(("shop/celery", false)),
        ),
        (
            "python3",
            "python /srv/orders.py --port 80",
            "/",
            Some(("orders", false)),
        ),
        ("python3", "worker 3 of 8", "/", Some(("worker", true))),
        ("python3", "3 of 8", "/", None),
        (
            "ruby",
            "puma 6.4.0 (tcp://0.0.0.0:3000) [shop]",
            "/",
            Some(("shop", false)),
        ),
        (
            "ruby",
            "puma: cluster worker 0: 1234 [shop]",
            "/",
            Some(("shop", false)),
        ),
        (
            "ruby",
            "puma 6.4.0 (tcp://0.0.0.0:3000) [20240101120000]",
            "/srv/shop/releases/20240101120000",
            Some(("shop", false)),
        ),
        (
            "ruby",
            "unicorn master -c config/unicorn.rb",
            "/srv/shop",
            Some(("shop", false)),
        ),
        (
            "ruby",
            "sidekiq 7.1.2 shop [0 of 5 busy]",
            "/",
            Some(("shop/sidekiq", false)),
        ),
        (
            "perl",
            "/usr/sbin/postgrey --pidfile=/run/x",
            "/",
            Some(("postgrey", false)),
        ),
        (
            "uwsgi",
            "uWSGI worker 1",
            "/srv/shop",
            Some(("shop", false)),
        ),
        (
            "php-fpm8.2",
            "php-fpm: pool shop",
            "/",
            Some(("shop", false)),
        ),
        (
            "php-fpm8.2",
            "php-fpm: pool www",
            "/",
            Some(("php-fpm", true)),
        ),
        (
            "php-fpm",
            "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)",
            "/",
            Some(("php-fpm", true)),
        ),
        (
            "node",
            "next-server (v14.1.0)",
            "/srv/shop",
            Some(("shop/next-server", false)),
        ),
        ("node", "npm start", "/srv/shop", Some(("shop/npm", false))),
    ];
    for (executable, title, cwd, expected) in table {
        let expected = expected.map(|(name, is_weak)| (name.to_owned(), is_weak));
        assert_eq!(titled(executable, title, cwd), expected, "{title}");
    }
}
