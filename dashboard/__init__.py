"""The dashboard: the run store over HTTP, live, for the page and for programs.

    app            assembles the application: routes, error handlers, middleware
    serve          serves it from the current process until a signal ends it
    settings       how it is served and who may use it, from the environment
    dependencies   dependencies of route functions: the services, and validated parameters
    schemas        request and response bodies besides the store's own records
    access/        tokens, sessions, rate limits, and checks on every request
    launching/     the launcher's protocol, and which settings a configuration over HTTP may contain
    routes/        the API, one module per subject
    services/      the change feed behind the live stream, and the pictures of recorded frames
    page/          the web page: plain JavaScript modules, no build step (page/vendor/README.md)

The command is in cluster/cli/dashboard.py, the launchers are in cluster/jobs/launchers.py, the tables in store/.
"""
