"""Programs behind HTTP: `fkdsl serve FOLDER` (docs/serve.md).

    settings.py     what the server listens on, and the bounds on a request
    registry.py     the programs of a folder, and the models that all of their runs share
    orders.py       what a request asks of a program, checked against the bounds; its run
    observers.py    what watches the steps of a run
    runs.py         which runs go on, which wait, and how they are ended
    openai_forms.py requests and answers as OpenAI's API has them
    failures.py     errors as status and body
    answers.py      answers as JSON
    app.py, routes_openai.py, routes_programs.py, routes_sources.py, guard.py     HTTP
    metrics.py      what Prometheus reads
    strangers.py, worker.py, remote_model.py      programs that come in a request, each in a process
    server.py       listens, and ends gracefully

HTTP and metrics.py need what the extra `fkdsl[serve]` brings; the rest does without.
"""
