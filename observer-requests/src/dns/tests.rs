use super::Dns;
use crate::call::{Call, Dns as Lookup, Failure};
use crate::protocol::{Chunk, Event, Events, Parser};
use crate::testing::conversation::{Piece, pieces, play};
use crate::testing::replays::corpus;

/// A message with one question, and answers as they are.
fn message(id: u16, flags: u16, name: &str, kind: u16, answers: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, answers.len() as u16, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1u16.to_be_bytes());
    bytes.extend(answers.concat());
    bytes
}

/// A record for the question's name.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 12];
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
    bytes.extend(data);
    bytes
}

fn ask(bytes: &[u8]) -> Piece<'_> {
    Piece { flags: 0, bytes }
}

fn answer(bytes: &[u8]) -> Piece<'_> {
    Piece { flags: 1, bytes }
}

fn lookups(pieces: &[Piece<'_>], datagram: bool) -> Vec<Lookup> {
    let outcome = play(&mut Dns::new(datagram), pieces);
    let lookup = |call| match call {
        Call::Dns(lookup) => lookup,
        other => panic!("{other:?}"),
    };
    outcome.ended.into_iter().map(|e| lookup(e.call)).collect()
}

/// Checks that answers find their questions, also out of order, and that a
/// question which is asked again is one.
#[test]
fn several_at_once() {
    let a = message(1, 0x100, "Example.com", 1, &[]);
    let aaaa = message(2, 0x100, "Example.com", 28, &[]);
    let other = message(3, 0x100, "none.example", 65, &[]);
    let alias = record(5, b"\x03www\xc0\x0c");
    let address = record(1, &[192, 0, 2, 1]);
    let long = record(
        28,
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    );
    let a_answer = message(1, 0x8180, "example.com", 1, &[&alias, &address]);
    let aaaa_answer = message(2, 0x8180, "Example.com", 28, &[&long]);
    let wrong = message(1, 0x8180, "example.org", 1, &[&address]);
    let nx = message(3, 0x8183, "none.example", 65, &[]);
    let found = lookups(
        &[
            ask(&a),
            ask(&aaaa),
            ask(&a),
            answer(&wrong),
            answer(&aaaa_answer),
            ask(&other),
            answer(&a_answer),
            answer(&a_answer),
            answer(&nx),
        ],
        true,
    );
    let expected = [
        ("Example.com", "AAAA", 0, vec!["2001:db8::1"]),
        ("Example.com", "A", 0, vec!["www.Example.com", "192.0.2.1"]),
        ("none.example", "HTTPS", 3, vec![]),
    ];
    assert_eq!(found.len(), expected.len());
    for (found, (name, question, code, answers)) in found.iter().zip(expected) {
        assert_eq!((&*found.name, &*found.question), (name, question));
        assert_eq!((found.code, found.failure), (Some(code), None));
        if name == "Example.com" && question == "A" {
            assert!(found.answers[0].eq_ignore_ascii_case(answers[0]));
            assert_eq!(found.answers[1..], answers[1..]);
        } else {
            assert_eq!(found.answers, answers);
        }
    }
}

/// Checks that what wasn't answered is a timeout: at the socket's end, and when
/// it is too old.
#[test]
fn unanswered() {
    let question = message(7, 0x100, "a.b", 16, &[]);
    let found = lookups(&[ask(&question)], true);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].failure, Some(Failure::Timeout));
    assert_eq!((&*found[0].question, found[0].code), ("TXT", None));

    let mut dns = Dns::new(true);
    let mut events = Events::default();
    for (id, at) in [(1, 10), (2, 20)] {
        let bytes = message(id, 0x100, "a.b", 1, &[]);
        let chunk = Chunk {
            data: &bytes,
            length: bytes.len() as u64,
            began: at,
            ended: at,
            tail: &[],
        };
        dns.requested(&chunk, at, &mut events);
    }
    events.events.clear();
    dns.expire(20 + super::TIMEOUT, &mut events);
    let [Event::Ended(ended)] = &events.events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((ended.exchange, ended.at), (0, 20 + super::TIMEOUT));
}

/// Checks that of a message that is cut, code and question come out, and the
/// answers that are whole; wherever it is cut.
#[test]
fn cut_answers() {
    let question = message(9, 0x100, "many.example", 1, &[]);
    let records: Vec<_> = (0..30).map(|n| record(1, &[10, 0, 0, n])).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let whole = message(9, 0x8180, "many.example", 1, &records);
    for end in 0..=whole.len() {
        let found = lookups(&[ask(&question), answer(&whole[..end])], true);
        assert_eq!(found.len(), 1);
        let known = end.saturating_sub(question.len()) / records[0].len();
        if end + 2 < question.len() {
            assert_eq!(found[0].failure, Some(Failure::Timeout));
        } else {
            assert_eq!(found[0].code, Some(0), "{end}");
            assert_eq!(found[0].answers.len(), known.min(16), "{end}");
        }
    }
}

/// Checks messages over TCP, in pieces of any length.
#[test]
fn over_tcp() {
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
    let questions = [
        framed(&message(1, 0x100, "a.example", 1, &[])),
        framed(&message(2, 0x100, "b.example", 1, &[])),
    ]
    .concat();
    let address = record(1, &[192, 0, 2, 1]);
    let answers = [
        framed(&message(2, 0x8180, "b.example", 1, &[&address])),
        framed(&message(1, 0x8185, "a.example", 1, &[])),
    ]
    .concat();
    for most in 1..questions.len() {
        let pieces: Vec<_> = questions
            .chunks(most)
            .map(ask)
            .chain(answers.chunks(most).map(answer))
            .collect();
        let found = lookups(&pieces, false);
        let said: Vec<_> = found.iter().map(|l| (&*l.name, l.code)).collect();
        assert_eq!(said, [("b.example", Some(0)), ("a.example", Some(5))]);
    }
}

/// Checks that the upper part of the code is read (RFC 6891): BADVERS.
#[test]
fn extended_codes() {
    let question = message(4, 0x100, "a", 1, &[]);
    let mut answer_bytes = message(4, 0x8180, "a", 1, &[]);
    answer_bytes[11] = 1;
    answer_bytes.extend([0, 0, 41, 0x10, 0, 1, 0, 0, 0, 0, 0]);
    let found = lookups(&[ask(&question), answer(&answer_bytes)], true);
    assert_eq!(found[0].code, Some(16));
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("dns", |data| {
        for datagram in [false, true] {
            play(&mut Dns::new(datagram), &pieces(&data[1..]));
        }
    });
}
