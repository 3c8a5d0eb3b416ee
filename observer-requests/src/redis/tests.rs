use super::Redis;
use crate::testing::conversation::{Outcome, Piece, pieces, play};
use crate::testing::replays::{corpus, db, lines, replay};

/// Checks a conversation of redis-py's with Redis 7.0, in RESP2.
#[test]
fn resp2() {
    let outcome = replay(include_bytes!("../../fixtures/redis-py2"), Redis::new);
    let expected = [
        "SELECT @2: SELECT ?",
        "SET @2: SET ? ?",
        "GET @2: GET ?",
        "GET @2: GET ?",
        "MULTI @2: MULTI",
        "INCRBY @2: INCRBY ? ?",
        "LPUSH @2: LPUSH ? ? ? ? ? ? ? ? ? ...",
        "LRANGE @2: LRANGE ? ? ?",
        "EXEC @2: EXEC",
        "SET @2: SET ? ?",
        "GET @2: GET ?",
        "HSET @2: HSET ? ? ? ? ?",
        "HGETALL @2: HGETALL ?",
        "LPUSH @2 !WRONGTYPE: LPUSH ? ?",
        "CONFIG GET @2: CONFIG GET ?",
        "BLPOP @2: BLPOP ? ?",
        "EVAL @2: EVAL ? ?",
        " @2 !ERR",
        "CLIENT SETNAME @2: CLIENT SETNAME ?",
        "PING @2: PING",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks a conversation of redis-py's with Redis 7.0, in RESP3.
#[test]
fn resp3() {
    let outcome = replay(include_bytes!("../../fixtures/redis-py3"), Redis::new);
    let expected = [
        "HELLO: HELLO ?",
        "HSET: HSET ? ? ?",
        "HGETALL: HGETALL ?",
        "ZADD: ZADD ? ? ?",
        "ZSCORE: ZSCORE ? ?",
        "SADD: SADD ? ?",
        "SMEMBERS: SMEMBERS ?",
        "XADD: XADD ? ? ? ?",
        "XINFO STREAM: XINFO STREAM ?",
        "CLIENT TRACKING: CLIENT TRACKING ?",
        "GET: GET ?",
        "SET: SET ? ?",
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
    play(&mut Redis::new(), &pieces)
}

/// Checks that secrets and keys are never taken for names: in commands that
/// aren't known, in arguments that could be sub-commands, inline.
#[test]
fn only_known_words() {
    let outcome = conversation(&[
        (0, "*2\r\n$4\r\nauth\r\n$6\r\nsecret\r\n"),
        (1, "+OK\r\n"),
        (0, "*2\r\n$6\r\nsecret\r\n$6\r\nsecret\r\n"),
        (1, "-ERR unknown command 'secret'\r\n"),
        (0, "*3\r\n$6\r\nconfig\r\n$6\r\nsecret\r\n$1\r\na\r\n"),
        (1, "-secret is what a script says\r\n"),
        (0, "get secret\r\n"),
        (1, "$-1\r\n"),
        (
            0,
            "*1\r\n$40\r\nGETsecretsecretsecretsecretsecretsecret1\r\n",
        ),
        (1, "-ERR\r\n"),
    ]);
    let expected = [
        "AUTH: AUTH ?",
        " !ERR",
        "CONFIG !ERR: CONFIG ? ?",
        "GET: GET ?",
        " !ERR",
    ];
    assert_eq!(lines(&outcome), expected);
}

/// Checks which replies end a command: all of RESP3's kinds, nested ones,
/// attributes before them, and pushes, which end none.
#[test]
fn kinds_of_replies() {
    let replies = [
        "+PONG\r\n",
        ":1\r\n",
        "$3\r\nabc\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n*2\r\n:1\r\n$1\r\n*\r\n+x\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(123456789012345678901234567890\r\n",
        "=7\r\ntxt:abc\r\n",
        "%1\r\n+a\r\n*1\r\n:2\r\n",
        "~2\r\n:1\r\n:2\r\n",
        "|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n",
        ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n:5\r\n",
    ];
    let ask = "*1\r\n$4\r\nPING\r\n".repeat(replies.len());
    for most in [1, 2, 5, 1000] {
        let all = replies.concat();
        let mut pieces = vec![(0, ask.as_str())];
        let mut rest = all.as_str();
        while !rest.is_empty() {
            let (here, behind) = rest.split_at(most.min(rest.len()));
            pieces.push((1, here));
            rest = behind;
        }
        let outcome = conversation(&pieces);
        assert_eq!(outcome.ended.len(), replies.len());
        assert_eq!((outcome.failed, outcome.abandoned), (0, 0));
        assert!(
            outcome
                .ended
                .iter()
                .all(|ended| db(ended).failure.is_none())
        );
    }
}

/// Checks that long values are skipped by their lengths, though most of them
/// wasn't captured, and that the last byte of a reply ends its command.
#[test]
fn long_values() {
    let value = "x".repeat(5_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\n{value}\r\n*2\r\n$3\r\nGET");
    let get = "\r\n$1\r\nk\r\n";
    let reply = format!("+OK\r\n$5000\r\n{value}\r");
    let outcome = conversation(&[
        (4, &set[..2000]),
        (12, &set[2000..5000]),
        (0, &set[5000..]),
        (0, get),
        (5, &reply),
        (0, ""),
        (1, "\n"),
        (0, "*1\r\n$4\r\nPING\r\n"),
        (1, "+PONG\r\n"),
    ]);
    assert_eq!(
        lines(&outcome),
        ["SET: SET ? ?", "GET: GET ?", "PING: PING"]
    );
    let times: Vec<_> = outcome.ended.iter().map(|e| (e.answered, e.at)).collect();
    // The sixth and the eighth piece.
    assert_eq!(times[0], (Some(5_500), 5_500));
    assert_eq!(times[1], (Some(5_500), 7_500));
}

/// Checks that a pipeline whose end wasn't captured doesn't shift answers: what
/// is known of it ends, and the next turn begins anew.
#[test]
fn pipeline_out_of_sight() {
    let many = "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".repeat(100);
    let replies = ":1\r\n".repeat(100);
    for flags in [1, 5, 9, 13] {
        let outcome = conversation(&[
            (4, &many),
            (flags, &replies),
            (0, "*1\r\n$4\r\nTIME\r\n"),
            (1, "*2\r\n:1\r\n:2\r\n"),
        ]);
        let known = 512 / 20;
        let said = lines(&outcome);
        assert!(said.len() > known && said.len() <= known + 3, "{said:?}");
        assert!(
            said[..said.len() - 1]
                .iter()
                .all(|line| ["", " ?", "INCR: INCR ?", "INCR ?: INCR ?"].contains(&line.as_str()))
        );
        assert_eq!(said.last().map(String::as_str), Some("TIME: TIME"));
    }
}

/// Checks that SELECT counts when it succeeds, and what ends a connection.
#[test]
fn connection_state() {
    let outcome = conversation(&[
        (0, "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"),
        (1, "+OK\r\n"),
        (0, "*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n"),
        (1, "-ERR DB index is out of range\r\n"),
        (0, "*1\r\n$4\r\nQUIT\r\n"),
    ]);
    let expected = [
        "SELECT @3: SELECT ?",
        "SELECT @3 !ERR: SELECT ?",
        "QUIT @3 Closed: QUIT",
    ];
    assert_eq!(lines(&outcome), expected);
    let subscribe = "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n";
    assert!(conversation(&[(0, subscribe)]).finished);
    let outcome = conversation(&[
        (0, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
        (1, "%1\r\n+proto\r\n:3\r\n"),
        (0, subscribe),
        (1, ">3\r\n+subscribe\r\n+a\r\n:1\r\n"),
        (0, "PING\r\n"),
        (1, ">3\r\n+message\r\n+a\r\n+b\r\n+PONG\r\n"),
    ]);
    assert!(!outcome.finished);
    assert_eq!(lines(&outcome), ["HELLO: HELLO ?", "PING: PING"]);
}

/// Checks that a client that never reads is followed no further than
/// `MAX_OPEN` commands, that the others are counted, and that later ones get
/// their own replies.
#[test]
fn too_many_at_once() {
    let many = "PING\r\n".repeat(3000);
    let replies = "+PONG\r\n".repeat(3000);
    let outcome = conversation(&[(0, &many), (1, &replies), (0, "TIME\r\n"), (1, "*0\r\n")]);
    assert_eq!(outcome.abandoned, 3000 - 1024);
    assert_eq!(outcome.ended.len(), 1025);
    assert_eq!(
        lines(&outcome).last().map(String::as_str),
        Some("TIME: TIME")
    );
}

/// Checks that nothing of the fuzz target's corpus breaks a promise.
#[test]
fn fuzz_corpus() {
    corpus("redis", |data| {
        play(&mut Redis::new(), &pieces(data));
    });
}
