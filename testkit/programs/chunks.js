// A server whose answers are chunks, many at once: chunks.js prints its port. An
// answer to /N/ID has 60 of them in N parts, a quarter of a second apart.
'use strict';
const http = require('http');

const server = http.createServer((request, response) => {
  const parts = Number(request.url.split('/')[1]);
  let left = parts;
  const part = () => {
    response.cork();
    for (let i = 0; i < 60 / parts; i++) {
      response.write('x'.repeat(100));
    }
    left -= 1;
    if (left === 0) {
      response.end();
    } else {
      setTimeout(part, 250);
    }
    response.uncork();
  };
  part();
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
