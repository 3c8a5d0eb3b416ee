//! Flamegraphs: one self-contained SVG, searchable and zoomable in a browser,
//! with another hue for each kind of code, and at its foot how much of it is
//! whole.

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Options, TextTruncateDirection, from_lines};

use observer_common::unwind::Outcome;

use super::folded::{annotation, clean, collapse};
use super::terminal::format::seconds;
use super::terminal::shown::cut;
use observer_signals::Profile;
use observer_signals::profile::ProfileKind;

const HIDDEN_SEARCH: &str = "text-anchor:end; opacity:0.1;";
/// Room for one line of text.
const FOOT_HEIGHT: u64 = 20;
const VISIBLE_SEARCH: &str = "text-anchor:end; opacity:0.8;";

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hue {
    Process,
    Native,
    Inlined,
    Jit,
    Kernel,
}

impl Hue {
    const LEGEND: [(Self, &'static str); 5] = [
        (Self::Process, "process"),
        (Self::Native, "user"),
        (Self::Inlined, "inlined"),
        (Self::Jit, "run-time code"),
        (Self::Kernel, "kernel"),
    ];

    fn of(annotated: &str, is_process: bool) -> Self {
        match annotated.get(annotated.len().saturating_sub(4)..) {
            _ if is_process => Self::Process,
            Some("_[k]") => Self::Kernel,
            Some("_[i]") => Self::Inlined,
            Some("_[j]") => Self::Jit,
            _ => Self::Native,
        }
    }

    /// The hue's middle, shifted by `shade` (0..=255): the same function has
    /// the same colour in every graph.
    fn color(self, shade: u8) -> Color {
        let vary = |low: u8, range: u8| low + (u16::from(range) * u16::from(shade) / 255) as u8;
        let (r, g, b) = match self {
            Self::Process => (vary(190, 20), vary(190, 20), vary(190, 20)),
            Self::Native => (vary(228, 25), vary(112, 66), vary(70, 30)),
            Self::Inlined => (vary(240, 15), vary(205, 30), vary(105, 40)),
            Self::Jit => (vary(110, 40), vary(190, 35), vary(100, 40)),
            Self::Kernel => (vary(105, 45), vary(155, 40), vary(215, 35)),
        };
        Color { r, g, b }
    }
}

/// Writes the flamegraph of `profile`. Functions with less than 1/10,000 of it
/// are left out: nobody could see them.
///
/// # Errors
/// When `out` can't be written.
pub fn write(profile: &Profile, mut out: impl Write) -> io::Result<()> {
    let stacks = collapse(profile, |call| clean(&call.name) + annotation(call));
    let mut colors = PaletteMap::default();
    for stack in stacks.keys() {
        for (depth, name) in stack.split(';').enumerate() {
            let hue = Hue::of(name, depth == 0);
            colors.insert(name, hue.color(shade(name)));
        }
    }
    for root in ["all", ""] {
        colors.insert(root, Hue::Process.color(255));
    }
    let mut lines: Vec<String> = stacks
        .iter()
        .map(|(stack, value)| format!("{stack} {value}"))
        .collect();
    if lines.is_empty() {
        // inferno refuses an empty graph; a user should see that it is empty.
        lines.push("[no samples] 1".to_owned());
    }
    let mut options = Options::default();
    options.title = title(profile);
    options.subtitle = Some(" ".to_owned());
    options.count_name = match profile.kind {
        ProfileKind::OnCpu => "samples".to_owned(),
        ProfileKind::OffCpu | ProfileKind::Wall => "ns".to_owned(),
    };
    options.bgcolors = Some(BackgroundColor::Flat(Color {
        r: 250,
        g: 250,
        b: 250,
    }));
    options.palette_map = Some(&mut colors);
    options.text_truncate_direction = TextTruncateDirection::Right;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    // inferno hides the way to search until the mouse is on it.
    let svg = String::from_utf8_lossy(&svg).replace(HIDDEN_SEARCH, VISIBLE_SEARCH);
    let (svg, foot_at) = make_room(svg);
    let (body, end) = svg.rsplit_once("</svg>").unwrap_or((&svg, ""));
    let foot = escape(&foot(profile));
    let foot = format!(
        "<text id=\"foot\" x=\"10\" y=\"{foot_at}\" font-family=\"monospace\" \
         font-size=\"12\">{foot}</text>"
    );
    write!(out, "{body}{}{foot}</svg>{end}", legend())
}

/// The picture a line higher, and where that line's text stands. The lowest
/// line of inferno's is for what the mouse is on.
fn make_room(svg: String) -> (String, u64) {
    let number = |text: &str| -> Option<u64> {
        let (_, rest) = svg.split_once(text)?;
        rest.split('"').next()?.parse().ok()
    };
    let Some((width, height)) = number("width=\"").zip(number("height=\"")) else {
        return (svg, 0);
    };
    let higher = height + FOOT_HEIGHT;
    let svg = svg
        .replacen(
            &format!("height=\"{height}\""),
            &format!("height=\"{higher}\""),
            1,
        )
        .replacen(
            &format!("viewBox=\"0 0 {width} {height}\""),
            &format!("viewBox=\"0 0 {width} {higher}\""),
            1,
        )
        .replacen(
            &format!("width=\"100%\" height=\"{height}\""),
            &format!("width=\"100%\" height=\"{higher}\""),
            1,
        );
    (svg, higher - FOOT_HEIGHT / 2)
}

/// How much there is, and how much of it lacks callers and why.
fn foot(profile: &Profile) -> String {
    let show = |value: u64| match profile.kind {
        ProfileKind::OnCpu => grouped(value),
        ProfileKind::OffCpu | ProfileKind::Wall => seconds(value as f64 / 1e9),
    };
    let noun = match profile.kind {
        ProfileKind::OnCpu => " samples",
        ProfileKind::OffCpu | ProfileKind::Wall => "",
    };
    let all = format!("{}{noun}", show(profile.total()));
    let reasons = profile.incomplete();
    let incomplete: u64 = reasons.iter().map(|(_, value)| value).sum();
    match incomplete {
        _ if profile.outcomes.is_empty() => all,
        0 => format!("{all}, all stacks complete"),
        _ => {
            let reason =
                |(outcome, value): &(Outcome, u64)| format!("{} {}", outcome.name(), show(*value));
            let reasons: Vec<String> = reasons.iter().map(reason).collect();
            format!(
                "{all}, {} incomplete: {}",
                show(incomplete),
                reasons.join(", ")
            )
        }
    }
}

/// A number with commas: `1,203`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Longest title that has room.
const TITLE: usize = 110;

/// What, whom, where and when.
fn title(profile: &Profile) -> String {
    let seconds = profile.duration as f64 / 1e9;
    let title = match profile.kind {
        ProfileKind::OnCpu => {
            let hertz = 1e9 / profile.period.max(1) as f64;
            let total = profile.total();
            format!("On CPU: {total} samples, {seconds:.1} s at {hertz:.0} Hz")
        }
        ProfileKind::OffCpu => format!("Off CPU, {seconds:.1} s"),
        ProfileKind::Wall => format!("Wall clock, {seconds:.1} s"),
    };
    if profile.about.is_empty() {
        return title;
    }
    cut(&format!("{title} · {}", clean(&profile.about)), TITLE)
}

/// What the colours mean, below the title.
fn legend() -> String {
    let mut x = 10;
    let mut legend = String::from("<g id=\"legend\" font-family=\"monospace\" font-size=\"12\">");
    for (hue, text) in Hue::LEGEND {
        let Color { r, g, b } = hue.color(128);
        legend += &format!(
            "<rect x=\"{x}\" y=\"38\" width=\"12\" height=\"12\" fill=\"rgb({r},{g},{b})\"/>\
             <text x=\"{}\" y=\"48\">{text}</text>",
            x + 16
        );
        x += 32 + 8 * text.len();
    }
    legend + "</g>"
}

/// A number that only depends on the name (FNV-1a, folded).
fn shade(name: &str) -> u8 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_le_bytes().into_iter().fold(0, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foot_of(kind: ProfileKind, outcomes: &[(Outcome, u64)]) -> String {
        let all = outcomes.iter().map(|(_, value)| value).sum();
        let sample = observer_signals::profile::Sample {
            stack: 0,
            pid: 1,
            tid: 1,
            thread: 0,
            process: 0,
            resource: 0,
            value: all,
            link: None,
            route: 0,
            wait: None,
        };
        foot(&Profile {
            kind,
            samples: vec![sample],
            outcomes: outcomes.to_vec(),
            ..Profile::default()
        })
    }

    /// Checks that a title says what, whom, where and when, and has room.
    #[test]
    fn titles() {
        let of = |about: &str| {
            title(&Profile {
                kind: ProfileKind::OffCpu,
                duration: 2_000_000_000,
                about: about.to_owned(),
                ..Profile::default()
            })
        };
        assert_eq!(of(""), "Off CPU, 2.0 s");
        assert_eq!(
            of("--comm x · here, now"),
            "Off CPU, 2.0 s · --comm x · here, now"
        );
        let long = of(&"x".repeat(1000));
        assert!(
            long.chars().count() == TITLE && long.ends_with('…'),
            "{long}"
        );
    }

    /// Checks what the foot says of samples and of time.
    #[test]
    fn foot_tells_what_is_incomplete() {
        let outcomes = [
            (Outcome::Complete, 1191),
            (Outcome::Truncated, 3),
            (Outcome::NoProcess, 9),
        ];
        assert_eq!(
            foot_of(ProfileKind::OnCpu, &outcomes),
            "1,203 samples, 12 incomplete: no_process 9, truncated 3"
        );
        let whole = [(Outcome::Complete, 40), (Outcome::NoUser, 2)];
        assert_eq!(
            foot_of(ProfileKind::OnCpu, &whole),
            "42 samples, all stacks complete"
        );
        assert_eq!(foot_of(ProfileKind::OnCpu, &[]), "0 samples");
        let times = [
            (Outcome::Complete, 3_000_000_000),
            (Outcome::ReadFault, 12_000_000),
        ];
        assert_eq!(
            foot_of(ProfileKind::OffCpu, &times),
            "3.01 s, 12 ms incomplete: read_fault 12 ms"
        );
    }

    /// Checks that the foot is inside the picture.
    #[test]
    fn foot_is_in_the_picture() {
        let mut svg = Vec::new();
        write(&Profile::default(), &mut svg).expect("written");
        let svg = String::from_utf8(svg).expect("UTF-8");
        let number = |text: &str| -> u64 {
            let (_, rest) = svg.split_once(text).expect("there");
            rest.split('"')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        };
        let height = number("height=\"");
        assert!(svg.contains(&format!("viewBox=\"0 0 1200 {height}\"")));
        let foot = number("id=\"foot\" x=\"10\" y=\"");
        assert!(foot < height && foot + FOOT_HEIGHT > height);
    }
}
