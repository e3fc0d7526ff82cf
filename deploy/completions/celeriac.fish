# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_celeriac_global_optspecs
    string join \n log-format= log-level= h/help V/version
end

function __fish_celeriac_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_celeriac_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_celeriac_using_subcommand
    set -l cmd (__fish_celeriac_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c celeriac -n "__fish_celeriac_needs_command" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_needs_command" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_needs_command" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_needs_command" -s V -l version -d 'Print version'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "run" -d 'Run the daemon'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "check-config" -d 'Validate the configuration'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "doctor" -d 'Test all brokers, workers and receivers, and explain what to fix; exits with 1 if anything is wrong'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "status" -d 'Print what a running daemon knows about its clusters: problems, totals, queues, tasks, workers and receivers'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "top" -d 'Watch a running daemon in the terminal: problems, queues, tasks, workers, brokers and receivers, once a second'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "demo" -d 'Run celeriac with a simulated cluster and receiver; nothing else is needed'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "record" -d 'Record the messages of the configured brokers as JSON lines, for a bug report'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "replay" -d 'Print the metrics that recorded messages add up to, or serve them'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "migrate" -d 'Convert another exporter\'s command line, environment or manifest into a configuration file'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "version" -d 'Print the version'
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -s c -l config -d 'Configuration file in YAML or TOML, depending on its extension' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l broker -d 'Without a file: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l remote-write -d 'Without a file: URL to push to, such as http://prometheus:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l pushgateway -d 'Without a file: URL of a Pushgateway, such as http://pushgateway:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l listen -d 'Without a file: address to serve /metrics on [default: 127.0.0.1:9808, unless pushing]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l enable-events -d 'Without a file: turn on task events on workers that send none'
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -s c -l config -d 'Configuration file in YAML or TOML, depending on its extension' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l broker -d 'Without a file: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l remote-write -d 'Without a file: URL to push to, such as http://prometheus:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l pushgateway -d 'Without a file: URL of a Pushgateway, such as http://pushgateway:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l listen -d 'Without a file: address to serve /metrics on [default: 127.0.0.1:9808, unless pushing]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l enable-events -d 'Without a file: turn on task events on workers that send none'
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l print -d 'Print the effective configuration with all defaults; secrets are hidden'
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -s c -l config -d 'Configuration file in YAML or TOML, depending on its extension' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l broker -d 'Without a file: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l remote-write -d 'Without a file: URL to push to, such as http://prometheus:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l pushgateway -d 'Without a file: URL of a Pushgateway, such as http://pushgateway:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l listen -d 'Without a file: address to serve /metrics on [default: 127.0.0.1:9808, unless pushing]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l wait -d 'How long to wait for events' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l enable-events -d 'Without a file: turn on task events on workers that send none'
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l sort -d 'Sort by this column, such as waiting; with - before it, highest first' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l url -d 'URL of the daemon, with a path if it is served below one [default: CELERIAC_URL, or http://127.0.0.1:9808]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -s c -l config -d 'Use the address of the listener in this configuration file' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l user -d 'User of the listener; a login can also be part of the URL' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l password-file -d 'File with the password of the user' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l bearer-token-file -d 'File with a bearer token of the listener' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l ca-file -d 'File with certificate authorities to trust instead of the system\'s' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l cert-file -d 'File with a client certificate, if the listener requires one' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l key-file -d 'File with the key of the client certificate' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l window -d 'Window that rates, ratios and percentiles are computed over' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -s q -l filter -d 'Show only rows whose name contains this text; with re: before it, matches this regular expression' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l json -d 'Print the document of /api/v1/status unchanged'
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l all -d 'Print every row instead of the first 20 of each table'
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -l insecure-skip-verify -d 'Accept any certificate of the daemon'
complete -c celeriac -n "__fish_celeriac_using_subcommand status" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l url -d 'URL of the daemon, with a path if it is served below one [default: CELERIAC_URL, or http://127.0.0.1:9808]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -s c -l config -d 'Use the address of the listener in this configuration file' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l user -d 'User of the listener; a login can also be part of the URL' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l password-file -d 'File with the password of the user' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l bearer-token-file -d 'File with a bearer token of the listener' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l ca-file -d 'File with certificate authorities to trust instead of the system\'s' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l cert-file -d 'File with a client certificate, if the listener requires one' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l key-file -d 'File with the key of the client certificate' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l window -d 'Window that rates, ratios and percentiles are computed over' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -s q -l filter -d 'Show only rows whose name contains this text; with re: before it, matches this regular expression' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -l insecure-skip-verify -d 'Accept any certificate of the daemon'
complete -c celeriac -n "__fish_celeriac_using_subcommand top" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l listen -d 'Address to serve the pages on' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l remote-write -d 'Push to your own receiver, such as http://127.0.0.1:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l pushgateway -d 'Push to your own Pushgateway, such as http://127.0.0.1:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l for -d 'Time to run, such as 10s [default: until stopped]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -s c -l config -d 'Configuration file in YAML or TOML, depending on its extension' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l broker -d 'Without a file: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l remote-write -d 'Without a file: URL to push to, such as http://prometheus:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l pushgateway -d 'Without a file: URL of a Pushgateway, such as http://pushgateway:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l listen -d 'Without a file: address to serve /metrics on [default: 127.0.0.1:9808, unless pushing]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -s o -l output -d 'File to write to; an existing one is replaced [default: standard output]' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l for -d 'Time to record, such as 10m [default: until stopped]' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l enable-events -d 'Without a file: turn on task events on workers that send none'
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -l scrub -d 'Replace arguments, results, exception texts and custom fields by text of the same length; names of tasks, workers and queues stay'
complete -c celeriac -n "__fish_celeriac_using_subcommand record" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -s c -l config -d 'Configuration file whose `metrics` and `global.interval` to use; the rest is ignored' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -l profile -d 'Names and labels to use, such as flower' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -l speed -d 'How fast to replay: max, or a multiple of the recorded speed such as 1x or 60x' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -l serve -d 'Serve the pages on this address until stopped, instead of printing the metrics. Messages count as received when they are replayed, so durations that include the time of receipt differ from the recorded ones' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand replay" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l from-file -d 'Compose file or Kubernetes manifest with the exporter\'s container' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l env-file -d 'File with environment variables of the exporter, one NAME=value per line; may be repeated' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -l log-format -d 'Log format' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -l log-level -d 'Log level [default: RUST_LOG, or info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -s h -l help -d 'Print help'
