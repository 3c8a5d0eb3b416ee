use super::Redis;
use crate::requests::replays::{lines, replay};

/// Checks a conversation of redis-py's with Redis 7.0, in RESP2.
#[test]
fn resp2() {
    let outcome = replay(include_bytes!("../fixtures/redis-py2"), Redis::new);
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
    let outcome = replay(include_bytes!("../fixtures/redis-py3"), Redis::new);
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
