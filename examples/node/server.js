// A page that says which version of Node answers, and as whom.
const http = require("http");

const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/plain");
  response.end(`node ${process.versions.node.split(".")[0]} in ${process.env.NODE_ENV}, user ${process.getuid()}\n`);
});

process.on("SIGTERM", () => server.close(() => process.exit(0)));
server.listen(3000);
