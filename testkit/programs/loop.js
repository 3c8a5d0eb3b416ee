// A server on one event loop that asks another one for each request: loop.js PORT
// [SOCKETS] prints its port. It asks over kept connections, as many as it wants or
// SOCKETS. /now/ID asks for /now/ID before it does anything else, /soon/ID in the
// loop's next phase, /later/ID after 5 to 20 ms, /file/ID after it has read a file,
// /twice/ID when it is answered again.
'use strict';
const fs = require('fs');
const http = require('http');

const [port, sockets] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: true, maxSockets: sockets || Infinity });

function ask(path, then) {
  const asked = http.get({ agent, port, host: '127.0.0.1', path }, (answer) => {
    answer.resume();
    answer.on('end', then);
  });
  asked.on('error', then);
}

const ways = {
  now: (ask) => ask(),
  soon: (ask) => setImmediate(ask),
  later: (ask) => setTimeout(ask, 5 + 15 * Math.random()),
  file: (ask) => fs.readFile(__filename, ask),
  twice: (ask) => ask(),
};

const server = http.createServer((request, response) => {
  const [, way] = request.url.split('/');
  const end = () => {
    response.writeHead(200, { 'Content-Length': 6 });
    response.end('hello\n');
  };
  const once = () => ask(request.url, way === 'twice' ? () => ask(request.url, end) : end);
  ways[way](once);
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
