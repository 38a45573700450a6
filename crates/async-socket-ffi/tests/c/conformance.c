/*
 * The conformance program of the C ABI: every function, result and rule, on real sockets, as a C program sees them.
 * A name on the command line runs only the test of that name. No wait lasts longer than LIMIT seconds.
 */
#define _POSIX_C_SOURCE 200809L

#include "conformance/additions.h"
#include "conformance/arguments.h"
#include "conformance/endings.h"
#include "conformance/net.h"
#include "conformance/operations.h"
#include "conformance/platform.h"
#include "conformance/ports.h"
#include "conformance/seeing.h"

/* ---- Functions that programs define themselves. The library must link beside them. ---- */

struct EXECUTION_ENGINE_TAG {
    int poisoned;
};

EXECUTION_ENGINE_HANDLE execution_engine_create(void* parameters);
void execution_engine_inc_ref(EXECUTION_ENGINE_HANDLE engine);
void execution_engine_dec_ref(EXECUTION_ENGINE_HANDLE engine);

EXECUTION_ENGINE_HANDLE execution_engine_create(void* parameters)
{
    (void)parameters;
    return NULL;
}

void execution_engine_inc_ref(EXECUTION_ENGINE_HANDLE engine)
{
    (void)engine;
    CHECK(!"the library called the program's execution engine");
}

void execution_engine_dec_ref(EXECUTION_ENGINE_HANDLE engine)
{
    execution_engine_inc_ref(engine);
}

/* ---- All of them ---- */

typedef struct TEST_TAG {
    const char* name;
    void (*run)(void);
    bool needs_platform;
} TEST;

#define WITH_PLATFORM(name) {#name, name, true}
#define WITHOUT_PLATFORM(name) {#name, name, false}

static const TEST tests[] = {
    WITHOUT_PLATFORM(every_enum_begins_with_invalid_and_has_its_values),
    WITHOUT_PLATFORM(before_platform_init_nothing_is_created_and_the_descriptor_stays_the_callers),
    WITHOUT_PLATFORM(null_handles_are_refused_or_ignored),
    WITH_PLATFORM(the_invalid_socket_is_refused),
    WITH_PLATFORM(refused_payloads_change_nothing),
    WITH_PLATFORM(contexts_may_be_null),
    WITH_PLATFORM(an_execution_engine_is_accepted_and_never_dereferenced),
    WITH_PLATFORM(a_socket_that_is_not_open_refuses_and_can_be_opened_once),
    WITH_PLATFORM(an_open_that_fails_runs_no_callback_and_leaves_the_descriptor),
    WITH_PLATFORM(bytes_go_both_ways_in_several_buffers),
    WITH_PLATFORM(a_send_that_the_kernel_does_not_take_at_once_completes_later_and_in_order),
    WITH_PLATFORM(bytes_come_before_the_end_of_the_stream_which_abandons),
    WITH_PLATFORM(a_send_to_a_peer_that_is_gone_is_abandoned_without_a_callback_and_without_a_signal),
    WITH_PLATFORM(a_reset_ends_what_is_pending),
    WITH_PLATFORM(closing_abandons_every_pending_operation_before_it_returns),
    WITH_PLATFORM(every_callback_may_close_and_destroy_its_socket),
    WITH_PLATFORM(destroy_waits_while_another_thread_closes),
    WITH_PLATFORM(destroy_waits_for_the_callback_of_an_open_on_another_thread),
    WITH_PLATFORM(the_abandoned_callback_of_a_plain_threads_close_may_destroy),
    WITH_PLATFORM(close_abandons_nothing_twice_while_plain_threads_send),
    WITH_PLATFORM(a_chain_of_sends_needs_no_stack),
    WITHOUT_PLATFORM(two_waits_on_one_descriptor_both_fire_and_once_only),
    WITHOUT_PLATFORM(what_the_kernel_or_the_rules_refuse_runs_no_callback),
    WITHOUT_PLATFORM(hang_ups_and_errors_are_reported),
    WITHOUT_PLATFORM(a_closed_descriptors_number_can_be_used_again),
    WITHOUT_PLATFORM(removal_abandons_what_waits_and_waits_for_what_runs),
    WITHOUT_PLATFORM(a_callback_may_remove_its_descriptor),
    WITHOUT_PLATFORM(a_callback_may_give_up_the_last_reference),
    WITHOUT_PLATFORM(the_platform_comes_and_goes_promptly_and_leaves_nothing),
    WITHOUT_PLATFORM(each_init_needs_its_deinit),
    WITHOUT_PLATFORM(sockets_outlive_the_platform),
    WITHOUT_PLATFORM(a_callback_may_stop_the_platform),
    WITHOUT_PLATFORM(as_many_threads_as_were_set),
    WITH_PLATFORM(null_and_zero_are_refused_by_what_goes_beyond_the_specification),
    WITH_PLATFORM(a_socket_is_created_and_opened_in_one_call_or_the_descriptor_stays_the_callers),
    WITH_PLATFORM(an_operation_says_why_it_ended),
    WITH_PLATFORM(an_operation_that_waits_can_be_cancelled_and_the_socket_goes_on),
    WITH_PLATFORM(what_takes_too_long_times_out),
    WITH_PLATFORM(a_slow_consumer_is_seen_and_refused),
    WITH_PLATFORM(a_shutdown_comes_behind_what_was_sent),
    WITHOUT_PLATFORM(callbacks_on_two_threads_close_each_others_sockets_without_waiting),
    WITH_PLATFORM(a_close_that_does_not_wait_frees_the_socket_in_its_callback),
    WITH_PLATFORM(work_runs_once_on_the_ports_thread_and_in_order),
    WITH_PLATFORM(timers_fire_once_in_time_and_can_be_moved_and_cancelled),
    WITH_PLATFORM(a_listener_and_a_connect_give_sockets_that_talk),
    WITH_PLATFORM(a_listener_takes_a_descriptor_that_listens_or_leaves_it),
    WITH_PLATFORM(a_listener_can_be_destroyed_in_its_callback),
    WITH_PLATFORM(a_connect_says_why_there_is_no_socket),
    WITH_PLATFORM(null_is_refused_by_what_shows_the_inside),
    WITH_PLATFORM(receives_from_a_pool_hold_no_memory_while_they_wait),
    WITH_PLATFORM(a_socket_and_a_port_count_what_they_do),
    WITH_PLATFORM(a_program_of_another_header_gets_the_numbers_that_it_knows_and_zeros),
    WITH_PLATFORM(a_descriptor_is_given_back_when_nothing_waits),
    WITH_PLATFORM(options_of_another_header_are_taken_and_what_they_ask_for_in_vain_is_refused),
    WITH_PLATFORM(an_abstract_name_is_listened_on_and_connected_to),
    WITH_PLATFORM(an_address_has_two_listeners_only_if_both_say_so),
    WITH_PLATFORM(a_listener_has_options_and_sockets_say_their_addresses),
};

int main(int argc, char** argv)
{
    size_t ran = 0;
    alarm(5 * LIMIT);
    CHECK(execution_engine_create(NULL) == NULL);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0) {
            continue;
        }
        fprintf(stderr, "%s\n", tests[i].name);
        if (tests[i].needs_platform) {
            CHECK(platform_init() == 0);
        }
        tests[i].run();
        if (tests[i].needs_platform) {
            platform_deinit();
        }
        ran++;
    }
    printf("%u tests passed\n", (unsigned)ran);
    return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
