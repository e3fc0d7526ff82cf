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

complete -c celeriac -n "__fish_celeriac_needs_command" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_needs_command" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_needs_command" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_needs_command" -s V -l version -d 'Print version'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "run" -d 'The daemon'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "check-config" -d 'Says every problem of a configuration file, with its key'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "doctor" -d 'Asks brokers, workers and receivers, and says what to fix; exits with 1 if there is something'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "demo" -d 'Everything in one process: a simulated cluster, the real pipeline, a receiver. Needs nothing installed'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "migrate" -d 'Another exporter\'s options and environment to a configuration file, on standard output'
complete -c celeriac -n "__fish_celeriac_needs_command" -f -a "version" -d 'Prints the version'
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l config -d 'The configuration file, YAML or TOML by its ending' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l broker -d 'Without a file: the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l remote-write -d 'Without a file: push there, such as http://prometheus:9090/api/v1/write' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l pushgateway -d 'Without a file: push to a Pushgateway, such as http://pushgateway:9091' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l listen -d 'Without a file: serve /metrics there, such as 127.0.0.1:9808' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand run" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -l print -d 'Prints the configuration that holds in the end, with every default, secrets hidden'
complete -c celeriac -n "__fish_celeriac_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l config -d 'The configuration file, YAML or TOML by its ending' -r -F
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l listen -d 'How long to listen to what workers publish' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l listen -d 'Where the pages are served' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l for -d 'Ends by itself after so long, such as 10s. Default: runs until it is stopped' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand demo" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -l log-format -d 'How a line of the log looks' -r -f -a "text\t''
json\t''"
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -l log-level -d 'What the log tells: error, warn, info, debug or trace. Default: RUST_LOG, else info' -r
complete -c celeriac -n "__fish_celeriac_using_subcommand version" -s h -l help -d 'Print help'
