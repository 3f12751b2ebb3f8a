// Node.js's own server, answering at once with nothing.
//   node node.js      (any free port, on loopback)
"use strict";

const server = require("node:http").createServer((request, response) => response.end());
server.keepAliveTimeout = 120_000;
server.requestTimeout = 30_000;
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
