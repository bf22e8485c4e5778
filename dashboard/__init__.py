"""The dashboard: the run store over HTTP, live, for the page and for programs.

    app            assembles the application: routes, error handlers, middleware
    serve          serves it from the current process until a signal ends it
    settings       how it is served and who may use it, from the environment
    dependencies   what route functions receive: the services, and checked parameters
    schemas        request and response bodies besides the store's own records
    access/        tokens, sessions, rate limits, and checks on every request
    launching/     starting runs: the launcher's protocol, and what a configuration over HTTP may set
    routes/        the API, one module per subject
    services/      the change feed behind the live stream, and the pictures of sampled frames
    page/          the web page: plain JavaScript modules, no build step (page/vendor/README.md)

The command is in cluster/cli/dashboard.py, what starts runs in cluster/jobs/launchers.py, the tables in store/.
"""
