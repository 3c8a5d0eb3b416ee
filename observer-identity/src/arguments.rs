//! Command lines, as `/proc/PID/cmdline` shows them.

/// So many arguments are looked at, each of so many bytes: what says which program runs
/// stands at the beginning.
const MOST: usize = 512;
const LONGEST: usize = 4096;

/// The arguments of a process, the program's own name first. Those of a process that
/// wrote a title over them are that title; it is taken apart at blanks if it begins with
/// the name of a program.
pub(crate) fn split(cmdline: &[u8]) -> Vec<String> {
    let mut arguments: Vec<String> = cmdline
        .split(|byte| *byte == 0)
        .take(MOST)
        .map(|argument| argument.get(..LONGEST).unwrap_or(argument))
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    while arguments.last().is_some_and(String::is_empty) {
        arguments.pop();
    }
    arguments
}

/// The title of a process that wrote one, blanks at its end left out.
pub(crate) fn title(arguments: &[String]) -> Option<&str> {
    match arguments {
        [only] => Some(only.trim()).filter(|title| title.contains(' ')),
        // Some write a title over the beginning and leave the rest empty.
        [title, rest @ ..] if rest.iter().all(|it| it.trim().is_empty()) => {
            Some(title.trim()).filter(|title| title.contains(' '))
        }
        _ => None,
    }
}

/// Which options of a program are followed by a value. Letters are those of short
/// options, that can stand together (`-uBm module`).
pub(crate) struct Grammar {
    /// What follows is code, and no script runs.
    pub(crate) code: &'static str,
    /// What follows is a module.
    pub(crate) module: &'static str,
    /// Its value is the rest of the argument, or the next one.
    pub(crate) value: &'static str,
    /// Its value is the rest of the argument, if there is one.
    pub(crate) attached: &'static str,
    /// Long options whose value is the next argument unless there is a `=`.
    pub(crate) long: &'static [&'static str],
}

/// What an interpreter runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Runs<'a> {
    /// Code of the command line or of standard input, or nothing.
    Nothing,
    /// A module, and its arguments.
    Module(&'a str, &'a [String]),
    /// A script, and its arguments.
    Script(&'a str, &'a [String]),
}

impl Grammar {
    /// What the arguments behind the interpreter's name say.
    pub(crate) fn read<'a>(&self, arguments: &'a [String]) -> Runs<'a> {
        let mut rest = arguments;
        while let [argument, behind @ ..] = rest {
            rest = behind;
            let argument = argument.as_str();
            if argument == "-" {
                return Runs::Nothing;
            }
            if argument == "--" {
                return match rest {
                    [script, behind @ ..] => Runs::Script(script, behind),
                    [] => Runs::Nothing,
                };
            }
            if argument.starts_with("--") {
                if self.long.contains(&argument) {
                    rest = rest.get(1..).unwrap_or_default();
                }
                continue;
            }
            let Some(letters) = argument.strip_prefix(['-', '+']) else {
                return Runs::Script(argument, rest);
            };
            match self.letters(letters) {
                Letters::Code => return Runs::Nothing,
                Letters::Flags => {}
                Letters::Value => rest = rest.get(1..).unwrap_or_default(),
                Letters::Module("") => {
                    return match rest {
                        [module, behind @ ..] => Runs::Module(module, behind),
                        [] => Runs::Nothing,
                    };
                }
                Letters::Module(module) => return Runs::Module(module, rest),
            }
        }
        Runs::Nothing
    }

    fn letters<'a>(&self, letters: &'a str) -> Letters<'a> {
        let mut chars = letters.chars();
        while let Some(letter) = chars.next() {
            if self.code.contains(letter) {
                return Letters::Code;
            }
            if self.module.contains(letter) {
                return Letters::Module(chars.as_str());
            }
            if self.attached.contains(letter) {
                return Letters::Flags;
            }
            if self.value.contains(letter) {
                return match chars.as_str() {
                    "" => Letters::Value,
                    _ => Letters::Flags,
                };
            }
        }
        Letters::Flags
    }
}

/// What one argument of short options says.
enum Letters<'a> {
    Flags,
    /// The next argument belongs to it.
    Value,
    Code,
    /// A module; empty if it is the next argument.
    Module(&'a str),
}

/// The value of one of some options anywhere on a command line: `-n X`, `--name X`,
/// `--name=X`.
pub(crate) fn value_of<'a>(arguments: &'a [String], options: &[&str]) -> Option<&'a str> {
    let mut rest = arguments;
    while let [argument, behind @ ..] = rest {
        rest = behind;
        if options.contains(&argument.as_str()) {
            return behind.first().map(String::as_str);
        }
        if let Some((option, value)) = argument.split_once('=')
            && options.contains(&option)
        {
            return Some(value);
        }
    }
    None
}

/// The first argument that is neither an option nor the value of one of `valued`, and
/// what is behind it.
pub(crate) fn operand<'a>(
    arguments: &'a [String],
    valued: &[&str],
) -> Option<(&'a str, &'a [String])> {
    let mut rest = arguments;
    while let [argument, behind @ ..] = rest {
        rest = behind;
        if argument == "--" {
            let (first, behind) = rest.split_first()?;
            return Some((first, behind));
        }
        if !argument.starts_with('-') {
            return Some((argument, rest));
        }
        if valued.contains(&argument.as_str()) {
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// Checks that arguments are split as the kernel joins them, and that there is an end
    /// to what is looked at.
    #[test]
    fn command_lines_are_split() {
        assert_eq!(split(b"a\0b c\0\0d\0"), ["a", "b c", "", "d"]);
        assert_eq!(split(b""), Vec::<String>::new());
        assert_eq!(split(&[b'a'; 100_000]).concat().len(), LONGEST);
        assert_eq!(split(&b"a\0".repeat(100_000)).len(), MOST);
        assert_eq!(
            title(&split(b"puma 6.4 [x]   \0\0\0")),
            Some("puma 6.4 [x]")
        );
        assert_eq!(title(&split(b"sleep\x0060")), None);
        assert_eq!(title(&split(b"sleep")), None);
    }

    /// Checks options of an invented interpreter, alone and together.
    #[test]
    fn options_are_told_from_what_runs() {
        let grammar = Grammar {
            code: "c",
            module: "m",
            value: "W",
            attached: "i",
            long: &["--long"],
        };
        let table = [
            ("x.py a", Some("x.py")),
            ("-u -W ignore x.py", Some("x.py")),
            ("-uWignore x.py", Some("x.py")),
            ("-ic x.py", Some("x.py")),
            ("--long v --flag x.py", Some("x.py")),
            ("--long=v x.py", Some("x.py")),
            ("-- -x.py", Some("-x.py")),
            ("-uc code x.py", None),
            ("- x.py", None),
            ("-W", None),
            ("--", None),
        ];
        for (text, script) in table {
            let line = line(text);
            let found = match grammar.read(&line) {
                Runs::Script(script, _) => Some(script),
                _ => None,
            };
            assert_eq!(found, script, "{text}");
        }
        let line = line("-uBm shop.main x");
        assert_eq!(grammar.read(&line), Runs::Module("shop.main", &line[2..]));
    }

    /// Checks values and operands among options.
    #[test]
    fn values_and_operands_are_found() {
        let line = line("--a=1 -b 2 x y");
        assert_eq!(value_of(&line, &["-a", "--a"]), Some("1"));
        assert_eq!(value_of(&line, &["-b"]), Some("2"));
        assert_eq!(value_of(&line, &["y"]), None);
        assert_eq!(operand(&line, &["-b"]).map(|it| it.0), Some("x"));
        assert_eq!(operand(&line, &[]).map(|it| it.0), Some("2"));
        assert_eq!(operand(&[], &[]), None);
    }
}
