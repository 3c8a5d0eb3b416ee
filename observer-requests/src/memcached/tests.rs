use super::Memcached;
use crate::call::CacheResult;
use crate::testing::conversation::{Outcome, Piece, pieces, play};
use crate::testing::replays::{corpus, db, lines, replay, survive};

/// Checks a conversation of pymemcache's with memcached 1.6.18.
#[test]
fn text_of_a_client() {
    let outcome = replay(include_bytes!("fixtures/text-pymemcache"), Memcached::new);
    let expected = [
        "set (stored): set ? ? ? ?",
        "get (hit): get ?",
        "get (miss): get ?",
        "set (stored): set ? ? ? ?",
        "set (stored): set ? ? ? ?",
        "get (partial): get ? ? ?",
        "add (not_stored): add ? ? ? ?",
        "replace (not_stored): replace ? ? ? ?",
        "append (stored): append ? ? ? ?",
        "prepend (stored): prepend ? ? ? ?",
        "gets (hit): gets ?",
        "cas (stored): cas ? ? ? ? ?",
        "cas (exists): cas ? ? ? ? ?",
        "incr (hit): incr ? ?",
        "decr (miss): decr ? ?",
        "touch (hit): touch ? ?",
        "touch (miss): touch ? ?",
        "set: set ? ? ? ?",
        "get (hit): get ?",
        "delete (hit): delete ?",
        "delete (miss): delete ?",
        "delete: delete ?",
        "get (hit): get ?",
    ];
    assert_eq!(lines(&outcome), expected);
    let batches: Vec<_> = outcome.ended.iter().filter_map(|e| db(e).batch).collect();
    assert_eq!(batches, [3]);
    let partial = db(&outcome.ended[5]).cache.expect("told");
    assert_eq!((partial.hits, partial.misses), (2, 1));
}

/// Checks long values, errors, statistics, pipelines and `noreply`.
#[test]
fn text_by_hand() {
    let outcome = replay(include_bytes!("fixtures/text"), Memcached::new);
    let expected = [
        "set (stored): set ? ? ? ?",
        "get (partial): get ? ?",
        "incr !CLIENT_ERROR: incr ? ?",
        " !ERROR",
        "get !ERROR: get",
        "stats: stats ?",
        "stats: stats",
        "version: version",
        "verbosity: verbosity ?",
        "gats (hit): gats ? ?",
        "set: set ? ? ? ?",
        "incr: incr ? ?",
        "get (hit): get ?",
        "touch (hit): touch ? ?",
        "delete (hit): delete ?",
        "get (miss): get ?",
        "flush_all: flush_all",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks meta commands, and which of several quiet ones were answered.
#[test]
fn meta() {
    let outcome = replay(include_bytes!("fixtures/meta"), Memcached::new);
    let expected = [
        "ms (stored): ms ? ?",
        "mg (hit): mg ? ? ? ?",
        "mg (hit): mg ?",
        "mg (miss): mg ? ?",
        "ms (not_stored): ms ? ? ?",
        "ms (not_stored): ms ? ? ?",
        "ms (stored): ms ? ?",
        "ma (hit): ma ? ?",
        "ma (miss): ma ?",
        "me (hit): me ?",
        "md (hit): md ?",
        "md (miss): md ?",
        "mg (miss): mg ? ? ? ?",
        "mg (hit): mg ? ? ? ? ?",
        "mg (miss): mg ? ? ?",
        // One of these wasn't stored, nobody knows which.
        "ms: ms ? ? ?",
        "ms: ms ? ? ? ?",
        "md: md ? ?",
        "mn: mn",
        "ms !CLIENT_ERROR: ms ? ?",
        "mn: mn",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks the binary protocol: all kinds of operations, and quiet ones.
#[test]
fn binary() {
    let outcome = replay(include_bytes!("fixtures/binary"), Memcached::new);
    let expected = [
        "set (stored): set ?",
        "get (hit): get ?",
        "get (miss): get ?",
        "get (hit): get ?",
        "add (exists): add ?",
        "replace (miss): replace ?",
        "append (stored): append ?",
        "prepend (stored): prepend ?",
        "append (not_stored): append ?",
        "set (exists): set ?",
        "incr (hit): incr ?",
        "incr (hit): incr ?",
        "decr (miss): decr ?",
        "incr !DELTA_BADVAL: incr ?",
        "touch (hit): touch ?",
        "gat (hit): gat ?",
        "delete (hit): delete ?",
        "delete (miss): delete ?",
        "version: version",
        " !UNKNOWN_COMMAND",
        "set (stored): set ?",
        "get (miss): get ?",
        "get (hit): get ?",
        "get (miss): get ?",
        "add (exists): add ?",
        "delete (hit): delete ?",
        "noop: noop",
        "stats: stats",
        "flush_all: flush_all",
        "",
    ];
    assert_eq!(lines(&outcome), expected);
}

fn conversation(pieces: &[(u8, &str)]) -> Outcome {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|(flags, text)| Piece {
            flags: *flags,
            bytes: text.as_bytes(),
        })
        .collect();
    play(&mut Memcached::new(), &pieces)
}

/// Checks that words that aren't commands are never taken for names, and that
/// no error is told but its kind.
#[test]
fn only_known_words() {
    let outcome = conversation(&[
        (0, "secret secret\r\n"),
        (1, "ERROR\r\n"),
        (0, "GET secret\r\n"),
        (1, "ERROR secret\r\n"),
        (0, "set secret 0 0 secret\r\n"),
        (1, "CLIENT_ERROR secret\r\n"),
        (0, "set a 0 0 9999999999\r\n"),
        (1, "SERVER_ERROR secret\r\n"),
    ]);
    let expected = [" !ERROR", " !ERROR", "set !CLIENT_ERROR: set ? ? ? ?"];
    assert_eq!(lines(&outcome)[..3], expected);
    assert_eq!(outcome.failed, 0);
}

/// Checks that an answer is over with its last byte, though most of it wasn't
/// captured, and that its question isn't over before.
#[test]
fn long_values() {
    let value = "x".repeat(5_000);
    let set = format!("set k 0 0 5000\r\n{value}\r\nget k\r\n");
    let get = format!("VALUE k 0 5000\r\n{value}\r");
    let meta = format!("VA 5000 f0\r\n{value}\r");
    let outcome = conversation(&[
        (4, &set[..2000]),
        (12, &set[2000..5000]),
        (0, &set[5000..]),
        (1, "STORED\r\n"),
        (5, &get),
        (1, "\nEND\r\n"),
        (0, "mg k v f\r\n"),
        (5, &meta),
        (1, "\n"),
        (0, "version\r\n"),
        (1, "VERSION 1.6.18\r\n"),
    ]);
    let expected = [
        "set (stored): set ? ? ? ?",
        "get (hit): get ?",
        "mg (hit): mg ? ? ?",
        "version: version",
    ];
    assert_eq!(lines(&outcome), expected);
    let times: Vec<_> = outcome.ended.iter().map(|e| (e.answered, e.at)).collect();
    assert_eq!(times[1], (Some(5_500), 6_500));
    assert_eq!(times[2], (Some(8_500), 9_500));
}

/// Checks that of values out of sight nothing is claimed, and that the next
/// question finds its own answer.
#[test]
fn values_out_of_sight() {
    let value = "x".repeat(600);
    let one = format!("VALUE a 0 600\r\n{value}\r\nEND\r\n");
    let two = format!("VALUE a 0 600\r\n{value}\r\nVALUE b 0 600\r\n{value}\r\nEND\r\n");
    let outcome = conversation(&[
        (0, "get a\r\n"),
        (5, &one),
        (0, "get a b c\r\n"),
        (5, &two),
        (0, "get d\r\n"),
        (1, "END\r\n"),
    ]);
    let expected = ["get (hit): get ?", "get: get ? ? ?", "get (miss): get ?"];
    assert_eq!(lines(&outcome), expected);
}

/// Checks that a command with more keys than are captured is seen, by what is
/// known of it.
#[test]
fn many_keys() {
    let keys: String = (0..1000).map(|n| format!(" key-{n}")).collect();
    let get = format!("get{keys}\r\n");
    for flags in [0, 4] {
        let outcome = conversation(&[
            (flags, &get),
            (1, "VALUE key-1 0 1\r\nx\r\nEND\r\n"),
            (0, "get a\r\n"),
            (1, "END\r\n"),
        ]);
        let said = lines(&outcome);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("get (partial): get ? ?"), "{said:?}");
        assert_eq!(said[1], "get (miss): get ?");
    }
}

/// Checks quiet questions: an answer with a number or a key is given to its own
/// one, an error to the first; `noreply` is over when it is sent, in order.
#[test]
fn quiet_ones() {
    let outcome = conversation(&[
        (0, "mg a v q O1\r\nmg b v q O2\r\nmg c v q O3\r\nmn\r\n"),
        (1, "VA 1 O2\r\nx\r\nMN\r\n"),
        (0, "mg a v q k\r\nmg b v q k\r\nmn\r\n"),
        (1, "VA 1 kb\r\nx\r\nMN\r\n"),
        (0, "set a 0 0 1 noreply\r\nx\r\n"),
        (0, "get a\r\nset b 0 0 1 noreply\r\nx\r\nget b\r\n"),
        (1, "VALUE a 0 1\r\nx\r\nEND\r\n"),
        (1, "VALUE b 0 1\r\nx\r\nEND\r\n"),
        (0, "mg a v q\r\n"),
    ]);
    let results: Vec<_> = outcome
        .ended
        .iter()
        .map(|ended| db(ended).cache.map(|cache| cache.result))
        .collect();
    use CacheResult::{Hit, Miss};
    let expected = [
        Some(Miss),
        Some(Hit),
        Some(Miss),
        None,
        Some(Miss),
        Some(Hit),
        None,
        None,
        Some(Hit),
        None,
        Some(Hit),
        None,
    ];
    assert_eq!(results, expected);
    // The first of those that nobody answers is over when it is sent.
    assert_eq!(outcome.ended[7].at, 5_000);
    assert!(outcome.ended.iter().all(|e| db(e).failure.is_none()));
}

/// Checks that a client that sends quiet questions only is followed no further
/// than there is room, and that later ones get their own answers.
#[test]
fn too_many_at_once() {
    let many = "mg a v q\r\n".repeat(3000);
    let outcome = conversation(&[
        (0, &many),
        (0, "mn\r\n"),
        (1, "MN\r\n"),
        (0, "get a\r\n"),
        (1, "END\r\n"),
    ]);
    assert!(outcome.abandoned > 0);
    let said = lines(&outcome);
    assert_eq!(said.last().map(String::as_str), Some("get (miss): get ?"));
}

/// Checks that a connection's end ends what is open.
#[test]
fn ends() {
    let outcome = conversation(&[(0, "get a\r\n"), (1, "VALUE a 0 1\r\n")]);
    assert_eq!(lines(&outcome), ["get Closed: get ?"]);
    assert!(conversation(&[(0, "watch fetchers\r\n")]).finished);
    assert!(conversation(&[(0, "quit\r\n")]).ended.is_empty());
}

/// Checks that whatever is said, and goes on with anything, is survived.
#[test]
fn garbage_is_survived() {
    survive(
        Memcached::new,
        &[
            b"get a b\r\n",
            b"set a 0 0 18446744073709551615\r\n",
            b"set a 0 0 2 noreply\r\n",
            b"mg a v q O1\r\n",
            b"mn\r\n",
            b"VALUE a 0 5\r\n",
            b"VA 3\r\n",
            b"END\r\n",
            b"HD O1\r\n",
            b"CLIENT_ERROR x\r\n",
            b"\x80\x09\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0a",
            b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0",
            b"\x81\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0",
            b"\x81\x00\xff\xff\xff\0\0\0\xff\xff\xff\xff",
        ],
    );
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("memcached", |data| {
        play(&mut Memcached::new(), &pieces(data));
    });
}
