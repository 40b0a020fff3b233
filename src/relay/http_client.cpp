// relay/http_client.cpp: see http_client.hpp.
#include "relay/http_client.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <map>
#include <vector>

#include "pg/error.hpp"

namespace cdp::relay {

namespace {

constexpr size_t kLongestAnswer = 8 << 20, kMostHeaders = 200;

struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

struct HttpClient::Transfer {
    CURL* handle = nullptr;
    std::unique_ptr<curl_slist, FreeList> headers;
    std::string body;
    char error[CURL_ERROR_SIZE] = "";
    Response response;
    bool too_long = false;
    Done done;

    static size_t Body(char* bytes, size_t, size_t count, void* self) {
        auto& transfer = *static_cast<Transfer*>(self);
        transfer.too_long = transfer.response.body.size() + count > kLongestAnswer;
        if (transfer.too_long) return 0;  // gives it up
        transfer.response.body.append(bytes, count);
        return count;
    }

    static size_t Header(char* bytes, size_t, size_t count, void* self) {
        auto& headers = static_cast<Transfer*>(self)->response.headers;
        const std::string_view line(bytes, count);
        if (line.starts_with("HTTP/")) headers.clear();  // of 100 Continue
        const size_t colon = line.find(':');
        if (colon == std::string_view::npos || headers.size() >= kMostHeaders) return count;
        std::string name(line.substr(0, colon));
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        std::string_view value = line.substr(colon + 1);
        while (!value.empty() && (value.back() == '\r' || value.back() == '\n' || value.back() == ' ')) value.remove_suffix(1);
        while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
        headers.emplace_back(std::move(name), value);
        return count;
    }
};

struct HttpClient::State {
    CURLM* multi = nullptr;
    std::map<uint64_t, std::unique_ptr<Transfer>> transfers;
    std::vector<CURL*> idle;
    uint64_t next = 1;

    void Finish(std::map<uint64_t, std::unique_ptr<Transfer>>::iterator at) {
        curl_multi_remove_handle(multi, at->second->handle);
        curl_easy_reset(at->second->handle);
        idle.push_back(at->second->handle);
        transfers.erase(at);
    }
};

HttpClient::HttpClient(std::string ca_file) : ca_file_(std::move(ca_file)), state_(std::make_unique<State>()) {
    static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (global != CURLE_OK || (state_->multi = curl_multi_init()) == nullptr)
        throw Error(sqlstate::internal_error, "libcurl cannot be initialised");
}

HttpClient::~HttpClient() {
    while (!state_->transfers.empty()) state_->Finish(state_->transfers.begin());
    for (CURL* handle : state_->idle) curl_easy_cleanup(handle);
    curl_multi_cleanup(state_->multi);
}

size_t HttpClient::in_flight() const { return state_->transfers.size(); }

uint64_t HttpClient::Send(const Request& request, double timeout_seconds, Done done) {
    auto transfer = std::make_unique<Transfer>();
    if (state_->idle.empty()) {
        transfer->handle = curl_easy_init();
    } else {
        transfer->handle = state_->idle.back();
        state_->idle.pop_back();
    }
    CURL* const handle = transfer->handle;
    if (handle == nullptr) throw Error(sqlstate::internal_error, "libcurl cannot make a request");
    transfer->body = request.body;
    transfer->done = std::move(done);
    curl_slist* list = nullptr;
    const auto header = [&](const std::string& line) {
        if (curl_slist* const longer = curl_slist_append(list, line.c_str())) list = longer;
    };
    for (const auto& [name, value] : request.headers) {
        // A line feed would begin a header of its own.
        if ((name + value).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos || name.empty()) {
            curl_slist_free_all(list);
            curl_easy_cleanup(handle);
            throw Error(sqlstate::invalid_parameter_value, "header \"" + name + "\" has a line feed");
        }
        header(value.empty() ? name + ";" : name + ": " + value);
    }
    header("Expect:");
    transfer->headers.reset(list);

    curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, transfer->headers.get());
    curl_easy_setopt(handle, CURLOPT_USERAGENT, "cdp-relay/1.0");
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    if (!ca_file_.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, ca_file_.c_str());
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_seconds * 1000));
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(timeout_seconds, 10.0) * 1000));
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Transfer::Body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, transfer.get());
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &Transfer::Header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, transfer.get());
    if (request.method == "GET" && request.body.empty()) {
        curl_easy_setopt(handle, CURLOPT_HTTPGET, 1L);
    } else {
        curl_easy_setopt(handle, CURLOPT_POST, 1L);
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS, transfer->body.data());
        curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer->body.size()));
        if (request.method != "POST") curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
    const uint64_t number = state_->next++;
    curl_easy_setopt(handle, CURLOPT_PRIVATE, reinterpret_cast<void*>(number));
    const CURLMcode added = curl_multi_add_handle(state_->multi, handle);
    state_->transfers.emplace(number, std::move(transfer));
    if (added != CURLM_OK) {
        state_->Finish(state_->transfers.find(number));
        throw Error(sqlstate::internal_error, std::string("libcurl cannot begin a request: ") + curl_multi_strerror(added));
    }
    return number;
}

void HttpClient::Cancel(uint64_t number) {
    if (const auto found = state_->transfers.find(number); found != state_->transfers.end()) state_->Finish(found);
}

void HttpClient::Run(std::span<const int> descriptors, int timeout_milliseconds) {
    std::vector<curl_waitfd> extra;
    for (const int descriptor : descriptors) extra.push_back({descriptor, CURL_WAIT_POLLIN, 0});
    int running = 0;
    curl_multi_perform(state_->multi, &running);
    int left = 0;
    const CURLMsg* waiting = curl_multi_info_read(state_->multi, &left);
    if (waiting == nullptr) {
        curl_multi_poll(state_->multi, extra.data(), static_cast<unsigned>(extra.size()), timeout_milliseconds, nullptr);
        curl_multi_perform(state_->multi, &running);
        waiting = curl_multi_info_read(state_->multi, &left);
    }
    for (; waiting != nullptr; waiting = curl_multi_info_read(state_->multi, &left)) {
        if (waiting->msg != CURLMSG_DONE) continue;
        const CURLcode code = waiting->data.result;
        void* number = nullptr;
        long status = 0;
        curl_easy_getinfo(waiting->easy_handle, CURLINFO_PRIVATE, &number);
        curl_easy_getinfo(waiting->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        const auto found = state_->transfers.find(reinterpret_cast<uint64_t>(number));
        if (found == state_->transfers.end()) continue;
        Transfer& transfer = *found->second;
        Response response = std::move(transfer.response);
        response.status = code == CURLE_OK ? static_cast<int>(status) : 0;
        const std::string failure = code == CURLE_OK ? "" : transfer.too_long ? "the answer is longer than 8 MiB" : transfer.error[0] != '\0' ? transfer.error : curl_easy_strerror(code);
        const Done done = std::move(transfer.done);
        state_->Finish(found);
        done(response, failure);
    }
}

}  // namespace cdp::relay
