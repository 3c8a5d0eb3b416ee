//! Redis's commands: only these words are ever taken for names, so that no key
//! and no secret is. From `COMMAND LIST` of Redis 7.0, with what later versions
//! and the usual modules have.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use rustc_hash::FxHashMap;

use crate::call::Asked;

/// Longest name.
pub const MAX_NAME: usize = 32;
/// Arguments that are told one by one in a text.
const MAX_TOLD: usize = 9;

/// A known command; the default is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Command(u16);

/// Commands by name; with a sub-command after a space.
static BY_NAME: LazyLock<FxHashMap<&'static [u8], u16>> = LazyLock::new(|| {
    let numbers = 1..;
    let names = NAMES.iter().map(|name| name.as_bytes());
    names.zip(numbers).collect()
});

/// What is to be known of a command, to follow its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    #[default]
    Plain,
    /// Its first argument says which of several commands it is.
    Container,
    /// One of a container's commands.
    Sub,
    /// SELECT.
    Select,
    /// HELLO.
    Hello,
    /// RESET.
    Reset,
    /// With RESP2, what is published comes as answers from here on.
    Subscribes,
    /// What comes is no answer to it: all commands, a replica's stream, nothing.
    Streams,
}

/// Of each command.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let kind = |name: &&str| match *name {
        "SELECT" => Kind::Select,
        "HELLO" => Kind::Hello,
        "RESET" => Kind::Reset,
        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
        | "SUNSUBSCRIBE" => Kind::Subscribes,
        "MONITOR" | "SYNC" | "PSYNC" | "CLIENT REPLY" => Kind::Streams,
        name if name.contains(' ') => Kind::Sub,
        name if CONTAINERS.contains(&name) => Kind::Container,
        _ => Kind::Plain,
    };
    std::iter::once(Kind::Plain)
        .chain(NAMES.iter().map(kind))
        .collect()
});

impl Command {
    /// By its name, in any case.
    pub fn find(name: &[u8]) -> Self {
        Self::find_sub(&[], name)
    }

    fn find_sub(first: &[u8], second: &[u8]) -> Self {
        let mut upper = [0; MAX_NAME];
        let between: &[u8] = if first.is_empty() { b"" } else { b" " };
        let length = first.len() + between.len() + second.len();
        let Some(upper) = upper.get_mut(..length) else {
            return Self::default();
        };
        // A few bytes: byte by byte is quicker than to call for it.
        let all = first.iter().chain(between).chain(second);
        for (to, byte) in upper.iter_mut().zip(all) {
            *to = byte.to_ascii_uppercase();
        }
        Self(BY_NAME.get(&*upper).copied().unwrap_or(0))
    }

    /// What it is called, in capitals; empty if it isn't known.
    pub fn name(self) -> &'static str {
        let place = usize::from(self.0).checked_sub(1);
        let name = place.and_then(|place| NAMES.get(place));
        name.copied().unwrap_or_default()
    }

    /// What is to be known of it.
    pub fn kind(self) -> Kind {
        KINDS.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// The command that a container and its first argument are; the container
    /// itself if it isn't known.
    pub fn sub(self, name: &[u8]) -> Self {
        match Self::find_sub(self.name().as_bytes(), name) {
            Self(0) => self,
            sub => sub,
        }
    }

    /// What it asks for with so many arguments, made once.
    pub fn asked(self, arguments: usize) -> Arc<Asked> {
        ASKED.with_borrow_mut(|asked| asked.get(self, arguments.min(MAX_TOLD + 1)))
    }
}

/// What is asked for, by command and arguments.
#[derive(Default)]
struct AllAsked(Vec<Option<Arc<Asked>>>);

impl AllAsked {
    fn get(&mut self, command: Command, arguments: usize) -> Arc<Asked> {
        let index = usize::from(command.0) * (MAX_TOLD + 2) + arguments;
        if self.0.len() <= index {
            self.0.resize((NAMES.len() + 1) * (MAX_TOLD + 2), None);
        }
        let make = || {
            let name = command.name();
            let mut text = String::from(name);
            for _ in 0..arguments.min(MAX_TOLD) {
                text.push_str(" ?");
            }
            if arguments > MAX_TOLD {
                text.push_str(" ...");
            }
            Arc::new(Asked {
                operation: name.into(),
                summary: name.into(),
                text: (command != Command::default()).then(|| text.into()),
                ..Asked::default()
            })
        };
        match self.0.get_mut(index) {
            Some(known) => known.get_or_insert_with(make).clone(),
            None => make(),
        }
    }
}

thread_local! {
    static ASKED: RefCell<AllAsked> = RefCell::default();
}

/// Commands whose first argument is a command.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE",
    "OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];

/// In order.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "ACL", "ACL CAT", "ACL DELUSER", "ACL DRYRUN", "ACL GENPASS", "ACL GETUSER", "ACL HELP",
    "ACL LIST", "ACL LOAD", "ACL LOG", "ACL SAVE", "ACL SETUSER", "ACL USERS", "ACL WHOAMI",
    "APPEND", "ASKING", "AUTH", "BF.ADD", "BF.EXISTS", "BF.INFO", "BF.INSERT", "BF.MADD",
    "BF.MEXISTS", "BF.RESERVE", "BGREWRITEAOF", "BGSAVE", "BITCOUNT", "BITFIELD", "BITFIELD_RO",
    "BITOP", "BITPOS", "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX",
    "BZPOPMIN", "CF.ADD", "CF.DEL", "CF.EXISTS", "CF.RESERVE", "CLIENT", "CLIENT CACHING",
    "CLIENT GETNAME", "CLIENT GETREDIR", "CLIENT HELP", "CLIENT ID", "CLIENT INFO", "CLIENT KILL",
    "CLIENT LIST", "CLIENT NO-EVICT", "CLIENT NO-TOUCH", "CLIENT PAUSE", "CLIENT REPLY",
    "CLIENT SETINFO", "CLIENT SETNAME", "CLIENT TRACKING", "CLIENT TRACKINGINFO", "CLIENT UNBLOCK",
    "CLIENT UNPAUSE", "CLUSTER", "CLUSTER ADDSLOTS", "CLUSTER ADDSLOTSRANGE", "CLUSTER BUMPEPOCH",
    "CLUSTER COUNT-FAILURE-REPORTS", "CLUSTER COUNTKEYSINSLOT", "CLUSTER DELSLOTS",
    "CLUSTER DELSLOTSRANGE", "CLUSTER FAILOVER", "CLUSTER FLUSHSLOTS", "CLUSTER FORGET",
    "CLUSTER GETKEYSINSLOT", "CLUSTER HELP", "CLUSTER INFO", "CLUSTER KEYSLOT", "CLUSTER LINKS",
    "CLUSTER MEET", "CLUSTER MYID", "CLUSTER MYSHARDID", "CLUSTER NODES", "CLUSTER REPLICAS",
    "CLUSTER REPLICATE", "CLUSTER RESET", "CLUSTER SAVECONFIG", "CLUSTER SET-CONFIG-EPOCH",
    "CLUSTER SETSLOT", "CLUSTER SHARDS", "CLUSTER SLAVES", "CLUSTER SLOT-STATS", "CLUSTER SLOTS",
    "CMS.INCRBY", "CMS.QUERY", "COMMAND", "COMMAND COUNT", "COMMAND DOCS", "COMMAND GETKEYS",
    "COMMAND GETKEYSANDFLAGS", "COMMAND HELP", "COMMAND INFO", "COMMAND LIST", "CONFIG",
    "CONFIG GET", "CONFIG HELP", "CONFIG RESETSTAT", "CONFIG REWRITE", "CONFIG SET", "COPY",
    "DBSIZE", "DEBUG", "DECR", "DECRBY", "DEL", "DELEX", "DIGEST", "DISCARD", "DUMP", "ECHO",
    "EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "EXEC", "EXISTS", "EXPIRE", "EXPIREAT",
    "EXPIRETIME", "FAILOVER", "FCALL", "FCALL_RO", "FLUSHALL", "FLUSHDB", "FT.AGGREGATE",
    "FT.ALTER", "FT.CREATE", "FT.CURSOR", "FT.DROPINDEX", "FT.EXPLAIN", "FT.INFO", "FT.PROFILE",
    "FT.SEARCH", "FT.SUGADD", "FT.SUGGET", "FT.TAGVALS", "FT._LIST", "FUNCTION", "FUNCTION DELETE",
    "FUNCTION DUMP", "FUNCTION FLUSH", "FUNCTION HELP", "FUNCTION KILL", "FUNCTION LIST",
    "FUNCTION LOAD", "FUNCTION RESTORE", "FUNCTION STATS", "GEOADD", "GEODIST", "GEOHASH",
    "GEOPOS", "GEORADIUS", "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO",
    "GEOSEARCH", "GEOSEARCHSTORE", "GET", "GETBIT", "GETDEL", "GETEX", "GETRANGE", "GETSET",
    "HDEL", "HELLO", "HEXISTS", "HEXPIRE", "HEXPIREAT", "HEXPIRETIME", "HGET", "HGETALL",
    "HGETDEL", "HGETEX", "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HMSET", "HPERSIST",
    "HPEXPIRE", "HPEXPIREAT", "HPEXPIRETIME", "HPTTL", "HRANDFIELD", "HSCAN", "HSET", "HSETEX",
    "HSETNX", "HSTRLEN", "HTTL", "HVALS", "INCR", "INCRBY", "INCRBYFLOAT", "INFO",
    "JSON.ARRAPPEND", "JSON.ARRINDEX", "JSON.ARRINSERT", "JSON.ARRLEN", "JSON.ARRPOP",
    "JSON.ARRTRIM", "JSON.CLEAR", "JSON.DEL", "JSON.GET", "JSON.MERGE", "JSON.MGET", "JSON.MSET",
    "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.OBJKEYS", "JSON.OBJLEN", "JSON.SET",
    "JSON.STRAPPEND", "JSON.STRLEN", "JSON.TOGGLE", "JSON.TYPE", "KEYS", "LASTSAVE", "LATENCY",
    "LATENCY DOCTOR", "LATENCY GRAPH", "LATENCY HELP", "LATENCY HISTOGRAM", "LATENCY HISTORY",
    "LATENCY LATEST", "LATENCY RESET", "LCS", "LINDEX", "LINSERT", "LLEN", "LMOVE", "LMPOP",
    "LOLWUT", "LPOP", "LPOS", "LPUSH", "LPUSHX", "LRANGE", "LREM", "LSET", "LTRIM", "MEMORY",
    "MEMORY DOCTOR", "MEMORY HELP", "MEMORY MALLOC-STATS", "MEMORY PURGE", "MEMORY STATS",
    "MEMORY USAGE", "MGET", "MIGRATE", "MODULE", "MODULE HELP", "MODULE LIST", "MODULE LOAD",
    "MODULE LOADEX", "MODULE UNLOAD", "MONITOR", "MOVE", "MSET", "MSETEX", "MSETNX", "MULTI",
    "OBJECT", "OBJECT ENCODING", "OBJECT FREQ", "OBJECT HELP", "OBJECT IDLETIME",
    "OBJECT REFCOUNT", "PERSIST", "PEXPIRE", "PEXPIREAT", "PEXPIRETIME", "PFADD", "PFCOUNT",
    "PFDEBUG", "PFMERGE", "PFSELFTEST", "PING", "PSETEX", "PSUBSCRIBE", "PSYNC", "PTTL", "PUBLISH",
    "PUBSUB", "PUBSUB CHANNELS", "PUBSUB HELP", "PUBSUB NUMPAT", "PUBSUB NUMSUB",
    "PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB", "PUNSUBSCRIBE", "QUIT", "RANDOMKEY", "READONLY",
    "READWRITE", "RENAME", "RENAMENX", "REPLCONF", "REPLICAOF", "RESET", "RESTORE",
    "RESTORE-ASKING", "ROLE", "RPOP", "RPOPLPUSH", "RPUSH", "RPUSHX", "SADD", "SAVE", "SCAN",
    "SCARD", "SCRIPT", "SCRIPT DEBUG", "SCRIPT EXISTS", "SCRIPT FLUSH", "SCRIPT HELP",
    "SCRIPT KILL", "SCRIPT LOAD", "SCRIPT SHOW", "SDIFF", "SDIFFSTORE", "SELECT", "SET", "SETBIT",
    "SETEX", "SETNX", "SETRANGE", "SHUTDOWN", "SINTER", "SINTERCARD", "SINTERSTORE", "SISMEMBER",
    "SLAVEOF", "SLOWLOG", "SLOWLOG GET", "SLOWLOG HELP", "SLOWLOG LEN", "SLOWLOG RESET",
    "SMEMBERS", "SMISMEMBER", "SMOVE", "SORT", "SORT_RO", "SPOP", "SPUBLISH", "SRANDMEMBER",
    "SREM", "SSCAN", "SSUBSCRIBE", "STRLEN", "SUBSCRIBE", "SUBSTR", "SUNION", "SUNIONSTORE",
    "SUNSUBSCRIBE", "SWAPDB", "SYNC", "TIME", "TOPK.ADD", "TOPK.LIST", "TOPK.QUERY", "TOUCH",
    "TS.ADD", "TS.CREATE", "TS.DECRBY", "TS.GET", "TS.INCRBY", "TS.INFO", "TS.MADD", "TS.MGET",
    "TS.MRANGE", "TS.MREVRANGE", "TS.QUERYINDEX", "TS.RANGE", "TS.REVRANGE", "TTL", "TYPE",
    "UNLINK", "UNSUBSCRIBE", "UNWATCH", "VADD", "VCARD", "VDIM", "VEMB", "VGETATTR", "VINFO",
    "VISMEMBER", "VLINKS", "VRANDMEMBER", "VRANGE", "VREM", "VSETATTR", "VSIM", "WAIT", "WAITAOF",
    "WATCH", "XACK", "XACKDEL", "XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XDELEX", "XGROUP",
    "XGROUP CREATE", "XGROUP CREATECONSUMER", "XGROUP DELCONSUMER", "XGROUP DESTROY",
    "XGROUP HELP", "XGROUP SETID", "XINFO", "XINFO CONSUMERS", "XINFO GROUPS", "XINFO HELP",
    "XINFO STREAM", "XLEN", "XPENDING", "XRANGE", "XREAD", "XREADGROUP", "XREVRANGE", "XSETID",
    "XTRIM", "ZADD", "ZCARD", "ZCOUNT", "ZDIFF", "ZDIFFSTORE", "ZINCRBY", "ZINTER", "ZINTERCARD",
    "ZINTERSTORE", "ZLEXCOUNT", "ZMPOP", "ZMSCORE", "ZPOPMAX", "ZPOPMIN", "ZRANDMEMBER", "ZRANGE",
    "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANGESTORE", "ZRANK", "ZREM", "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE",
    "ZREVRANK", "ZSCAN", "ZSCORE", "ZUNION", "ZUNIONSTORE",
];
