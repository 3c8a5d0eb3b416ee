//! What in a process's environment says who it is, beside OpenTelemetry's variables.

/// What frameworks, process managers and orchestrators tell their processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `HOSTNAME`: in a pod its name, in a container what it was given.
    pub hostname: Option<String>,
    /// `NOMAD_TASK_NAME`.
    pub nomad_task: Option<String>,
    /// `RELEASE_NAME`: of an Elixir release.
    pub release: Option<String>,
    /// `npm_package_name`: of the package whose script npm started.
    pub npm_package: Option<String>,
    /// `name`, if pm2 is the process manager (`pm_id`).
    pub pm2_name: Option<String>,
    /// `SPRING_APPLICATION_NAME`.
    pub spring_application: Option<String>,
    /// `JAVA_TOOL_OPTIONS` and `JDK_JAVA_OPTIONS`, at their blanks.
    pub java_options: Vec<String>,
}

impl Hints {
    /// From a `/proc/PID/environ`. As for the process itself, the first of equal
    /// variables counts.
    pub fn from_environ(environ: &[u8]) -> Self {
        let mut found = Self::default();
        let mut pm2_name = None;
        let mut is_pm2 = false;
        for entry in environ.split(|byte| *byte == 0) {
            let Some(at) = entry.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (Some(key), Some(value)) = (entry.get(..at), entry.get(at + 1..)) else {
                continue;
            };
            let place = match key {
                b"HOSTNAME" => &mut found.hostname,
                b"NOMAD_TASK_NAME" => &mut found.nomad_task,
                b"RELEASE_NAME" => &mut found.release,
                b"npm_package_name" => &mut found.npm_package,
                b"SPRING_APPLICATION_NAME" => &mut found.spring_application,
                b"name" => &mut pm2_name,
                b"pm_id" => {
                    is_pm2 = true;
                    continue;
                }
                b"JAVA_TOOL_OPTIONS" | b"JDK_JAVA_OPTIONS" => {
                    let options = String::from_utf8_lossy(value);
                    let options = options.split_ascii_whitespace().map(str::to_owned);
                    found.java_options.extend(options);
                    continue;
                }
                _ => continue,
            };
            if place.is_none() {
                *place = crate::text::name(&String::from_utf8_lossy(value));
            }
        }
        found.pm2_name = pm2_name.filter(|_| is_pm2);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which variables are read, and that `name` counts under pm2 only.
    #[test]
    fn hints_are_read() {
        let environ = b"HOSTNAME=shop-0\0HOSTNAME=x\0name=a\0X\0=y\0RELEASE_NAME=\0JDK_JAVA_OPTIONS=-Da=b  -Dc=d\0";
        let hints = Hints::from_environ(environ);
        assert_eq!(hints.hostname.as_deref(), Some("shop-0"));
        assert_eq!((hints.pm2_name, hints.release), (None, None));
        assert_eq!(hints.java_options, ["-Da=b", "-Dc=d"]);
        let hints = Hints::from_environ(b"name=a\0pm_id=0");
        assert_eq!(hints.pm2_name.as_deref(), Some("a"));
    }
}
