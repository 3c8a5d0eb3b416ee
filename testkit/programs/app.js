// A web application on one event loop: app.js PG_PORT REDIS_PORT [KEY CERT]
// prints its port; with a key and a certificate it speaks TLS. /t/K asks
// PostgreSQL for table tK and then Redis with its K-th command; anything else
// is answered at once.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const net = require('net');

const [pgPort, redisPort, key, cert] = process.argv.slice(2);
const COMMANDS = ['GET', 'EXISTS', 'TTL', 'STRLEN', 'TYPE', 'PTTL', 'DUMP', 'GETDEL'];

// One connection; answers come in the order of the questions. `end` finds the
// end of the first whole answer in what came, or gives 0.
class Client {
  constructor(port, end) {
    this.waiting = [];
    this.came = Buffer.alloc(0);
    this.stream = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.stream.on('data', (data) => {
      this.came = Buffer.concat([this.came, data]);
      for (let n; this.waiting.length > 0 && (n = end(this.came)) > 0;) {
        this.came = this.came.subarray(n);
        this.waiting.shift()();
      }
    });
  }

  ask(bytes) {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.stream.write(bytes);
    });
  }
}

// Up to ReadyForQuery.
function pgEnd(bytes) {
  for (let at = 0; at + 5 <= bytes.length;) {
    const next = at + 1 + bytes.readInt32BE(at + 1);
    if (next > bytes.length) return 0;
    if (bytes[at] === 0x5a) return next;
    at = next;
  }
  return 0;
}

function redisEnd(bytes) {
  const line = bytes.indexOf('\r\n');
  if (line < 0) return 0;
  const length = bytes[0] === 0x24 ? Number(bytes.subarray(1, line)) : -1;
  const end = length < 0 ? line + 2 : line + 2 + length + 2;
  return end <= bytes.length ? end : 0;
}

function startup() {
  const words = Buffer.from('user\0postgres\0database\0postgres\0\0');
  const head = Buffer.alloc(8);
  head.writeInt32BE(words.length + 8, 0);
  head.writeInt32BE(196608, 4);
  return Buffer.concat([head, words]);
}

function query(text) {
  const body = Buffer.from(`${text}\0`);
  const head = Buffer.alloc(5);
  head.write('Q');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function command(...words) {
  return `*${words.length}\r\n${words.map((w) => `$${w.length}\r\n${w}\r\n`).join('')}`;
}

async function main() {
  let pg;
  let redis;
  if (Number(pgPort)) {
    pg = new Client(Number(pgPort), pgEnd);
    await pg.ask(startup());
    redis = new Client(Number(redisPort), redisEnd);
  }
  const handler = async (request, response) => {
    const [, route, number] = request.url.split('?')[0].split('/');
    if (route === 't' && pg) {
      await pg.ask(query(`SELECT v FROM t${number} WHERE v <> 'secret'`));
      await redis.ask(command(COMMANDS[number % COMMANDS.length], `key-${number}`));
    }
    response.writeHead(200, { 'Content-Length': 6 });
    response.end('hello\n');
  };
  const server = key
    ? https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, handler)
    : http.createServer(handler);
  server.keepAliveTimeout = 60000;
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

main();
