// generate.cpp: made-up customer traffic, as text for
//   COPY cdp.inbox (message_id, type, source, user_id, anonymous_id, event,
//                   properties, traits, context, occurred_at, received_at) FROM …
//
// What makes it like the real thing: few people send much and many send little; everyone has up to
// three devices, loses cookies now and then, comes anonymous first and logs in later; a dozen people
// share a kiosk; one message in a hundred is delivered twice; some arrive hours or days late.
// The same arguments with the same --start give the same bytes.
//
// Nothing in the text needs escaping for COPY: no value holds a tab, a newline or a backslash.

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::system_clock;
using Time = std::chrono::time_point<Clock, std::chrono::milliseconds>;
using std::chrono::milliseconds;
using std::uint64_t;

struct Options {
    uint64_t messages = 1'000'000;
    uint64_t people = 200'000;
    uint64_t stride = 1;  // person n of this traffic is number n * stride: thins it out over more people
    uint64_t seed = 1;
    uint64_t days = 60;
    Time start = std::chrono::floor<milliseconds>(Clock::now());
};

/// SplitMix64. The standard's distributions differ between libraries; this one is the same everywhere.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t Bits()
    {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    uint64_t Below(uint64_t limit) { return Bits() % limit; }
    double Unit() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
    bool Chance(double probability) { return Unit() < probability; }

    template <typename List>
    const auto& Pick(const List& list) { return list[Below(std::size(list))]; }

    /// Favours the front of the list: the k-th of n with a probability that falls with k.
    template <typename List>
    const auto& PickSkewed(const List& list)
    {
        return list[static_cast<size_t>(std::pow(Unit(), 2.0) * static_cast<double>(std::size(list)))];
    }

private:
    uint64_t state_;
};

constexpr std::string_view kNull = "\\N";

constexpr std::array<std::string_view, 12> kFirstNames{
    "Ada", "Bruno", "Chloé", "Dmitri", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jürgen", "Keiko", "Zoë"};
constexpr std::array<std::string_view, 10> kLastNames{
    "Abe", "Brown", "Costa", "Diaz", "Evans", "Fischer", "Garcia", "Hansen", "Ivanov", "Nguyen"};
constexpr std::array<std::string_view, 8> kCountries{"US", "DE", "GB", "FR", "BR", "JP", "IN", "PL"};
constexpr std::array<std::string_view, 4> kPlans{"free", "basic", "pro", "enterprise"};
constexpr std::array<std::string_view, 12> kCategories{
    "shoes", "shirts", "books", "toys",    "garden", "kitchen",
    "music", "games",  "sport", "beauty", "travel", "office"};
constexpr std::array<std::string_view, 15> kCampaigns{
    "newsletter", "spring_sale", "brand", "retarget", "summer_sale", "winback", "affiliate", "podcast",
    "blackfriday", "referral", "partners", "tv", "print", "events", "influencers"};
constexpr std::array<std::string_view, 6> kPages{"Home", "Category", "Product", "Pricing", "Blog", "Help"};
constexpr std::array<std::string_view, 4> kScreens{"Start", "Browse", "Basket", "Account"};
constexpr std::array<std::string_view, 5> kPhones{"iPhone15,2", "iPhone14,5", "Pixel 8", "SM-S911B", "SM-A546B"};
constexpr std::array<std::string_view, 4> kBrowsers{
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"};

/// The events, most frequent first: PickSkewed gives the first of ten 32 % and the last 5 %.
constexpr std::array<std::string_view, 10> kEvents{
    "Product Viewed",  "Product List Viewed", "Email Opened",    "Product Added", "Products Searched",
    "Order Completed", "Checkout Started",    "Cart Viewed",     "Video Played",  "Support Requested"};

enum Device : unsigned { kBrowser, kPhone, kSecondBrowser, kKiosk };
constexpr std::array<std::string_view, 4> kSources{"web", "app", "web", "store"};
constexpr unsigned kPeopleOfKiosk = 12;
constexpr unsigned kMaxCookies = 10;  // of one device

struct Person {
    std::array<std::uint8_t, 4> cookies{};  // how many cookies each device has lost so far
    std::uint8_t logged_in = 0;             // a bit a device
    std::uint8_t plan = 0;
};

/// A bijection of 32 bits that looks random.
uint64_t Scatter(uint64_t n) { return n * 2654435761 % 4294967296; }

/// Appends as printf does.
template <typename... Args>
void Print(std::string& out, const char* format, Args... args)
{
    char buffer[256];
    const int length = std::snprintf(buffer, sizeof buffer, format, args...);
    out.append(buffer, std::min<size_t>(length, sizeof buffer - 1));
}

void PrintTime(std::string& out, Time time)
{
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{time - day};
    Print(out, "%04d-%02u-%02u %02d:%02d:%02d.%03d+00", int{date.year()}, unsigned{date.month()},
          unsigned{date.day()}, static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
          static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
}

/// Adds `"key":` with a value to the JSON object being written at the end of `out`.
void Key(std::string& out, std::string_view key)
{
    if (out.back() != '{')
        out += ',';
    out.append("\"").append(key).append("\":");
}
void Text(std::string& out, std::string_view key, std::string_view value)
{
    Key(out, key);
    out.append("\"").append(value).append("\"");
}
void Number(std::string& out, std::string_view key, uint64_t value)
{
    Key(out, key);
    out += std::to_string(value);
}
void Money(std::string& out, std::string_view key, uint64_t cents)
{
    Key(out, key);
    Print(out, "%llu.%02llu", static_cast<unsigned long long>(cents / 100),
          static_cast<unsigned long long>(cents % 100));
}

class Traffic {
public:
    explicit Traffic(const Options& options)
        : options_(options), random_(options.seed), people_(options.people), recent_(512)
    {
    }

    /// Message number `n`, as a line for COPY. Valid until the next call.
    const std::string& Message(uint64_t n)
    {
        if (n > recent_.size() && random_.Chance(0.01))
            return random_.Pick(recent_);  // a client that got no answer sends again
        line_.clear();
        Compose(n);
        recent_[n % recent_.size()] = line_;
        return line_;
    }

private:
    void Compose(uint64_t n)
    {
        const uint64_t index = PickPerson();
        Person& person = people_[index];
        number_ = (index + 1) * options_.stride;
        const unsigned device = PickDevice();

        if (person.cookies[device] + 1u < kMaxCookies && random_.Chance(0.02)) {
            ++person.cookies[device];
            person.logged_in &= ~(1u << device);
        }
        const bool registered = Scatter(number_) % 10 < 8;
        const bool was_logged_in = person.logged_in >> device & 1;
        const bool identify = was_logged_in ? random_.Chance(0.03) : registered && random_.Chance(0.3);
        if (identify)
            person.logged_in |= 1u << device;

        const bool page = device != kPhone && random_.Chance(0.15);
        const bool screen = device == kPhone && random_.Chance(0.15);
        const std::string_view event = identify ? kNull
                                     : page     ? random_.PickSkewed(kPages)
                                     : screen   ? random_.PickSkewed(kScreens)
                                                : random_.PickSkewed(kEvents);

        Print(line_, "%08x-%04x-4%03x-a%03x-%012llx\t", static_cast<unsigned>(random_.Below(1ull << 32)),
              static_cast<unsigned>(random_.Below(1 << 16)), static_cast<unsigned>(random_.Below(1 << 12)),
              static_cast<unsigned>(random_.Below(1 << 12)),
              static_cast<unsigned long long>(random_.Below(1ull << 48)));
        line_.append(identify ? "identify" : page ? "page" : screen ? "screen" : "track");
        line_.append("\t").append(kSources[device]).append("\t");
        if (was_logged_in || identify)
            Print(line_, "user-%llu", static_cast<unsigned long long>(number_));
        else
            line_ += kNull;
        line_ += '\t';
        Cookie(device, person.cookies[device]);
        line_.append("\t").append(event).append("\t");
        if (identify) {
            line_.append(kNull).append("\t");
            Traits(person);
        } else {
            Properties(page || screen ? std::string_view{"page"} : event);
            line_.append("\t").append(kNull);
        }
        line_ += '\t';
        Context(device);
        line_ += '\t';
        Times(n);
        line_ += '\n';
    }

    /// The probability of the k-th most active person falls with k^-0.6.
    uint64_t PickPerson()
    {
        const auto rank = static_cast<uint64_t>(std::pow(random_.Unit(), 2.5) * static_cast<double>(options_.people));
        return rank * 7919 % options_.people;  // so that neighbours in number are not neighbours in activity
    }

    unsigned PickDevice()
    {
        if (number_ / kPeopleOfKiosk % kPeopleOfKiosk == 0 && random_.Chance(0.1))
            return kKiosk;
        const uint64_t devices = 1 + Scatter(number_) % 3;
        return random_.Chance(0.6) ? kBrowser : static_cast<unsigned>(random_.Below(devices));
    }

    void Cookie(unsigned device, unsigned generation)
    {
        const uint64_t cookie = number_ * 64 + device * 16 + generation;
        Print(line_, "%08llx-7000-4000-8000-%012llx", static_cast<unsigned long long>(Scatter(cookie)),
              static_cast<unsigned long long>(cookie));
    }

    void Traits(Person& person)
    {
        if (random_.Chance(0.3))
            person.plan = std::min<std::uint8_t>(person.plan + random_.Below(2), kPlans.size() - 1);
        const uint64_t self = Scatter(number_);
        line_ += '{';
        Key(line_, "email");
        // As people type it: to be trimmed and lowered.
        Print(line_, random_.Chance(0.1) ? "\"Person.%llu@Example.com \"" : "\"person.%llu@example.com\"",
              static_cast<unsigned long long>(number_));
        Key(line_, "name");
        line_.append("\"").append(kFirstNames[self % kFirstNames.size()]).append(" ");
        line_.append(kLastNames[self / 16 % kLastNames.size()]).append("\"");
        Text(line_, "plan", kPlans[person.plan]);
        Text(line_, "country", kCountries[self / 64 % 64 * (self / 4096 % 64) / 512]);
        Number(line_, "age", 18 + self / 1024 % 60);
        Key(line_, "newsletter");
        line_ += self % 3 == 0 ? "true" : "false";
        if (self % 7 < 2) {
            Key(line_, "phone");
            Print(line_, "\"+1212%07llu\"", static_cast<unsigned long long>(2'000'000 + number_ % 7'000'000));
        }
        if (self % 11 < 3)
            Text(line_, "company", kLastNames[self / 256 % kLastNames.size()]);
        line_ += '}';
    }

    void Properties(std::string_view event)
    {
        const auto category = random_.PickSkewed(kCategories);
        line_ += '{';
        if (event == "page") {
            Text(line_, "path", std::string("/").append(category).append("/") + std::to_string(random_.Below(500)));
            Text(line_, "referrer", random_.Chance(0.5) ? "https://www.google.com/" : "https://shop.example.com/");
        } else if (event == "Order Completed" || event == "Checkout Started") {
            Key(line_, "order_id");
            Print(line_, "\"O-%08llx\"", static_cast<unsigned long long>(random_.Below(1ull << 32)));
            if (random_.Chance(0.01))
                Text(line_, "revenue", "n/a");  // somebody's bug: counts for no sum
            else
                Money(line_, "revenue", 500 + static_cast<uint64_t>(std::pow(random_.Unit(), 4.0) * 60'000));
            Text(line_, "currency", random_.Chance(0.7) ? "USD" : "EUR");
            Number(line_, "quantity", 1 + random_.Below(5));
            Text(line_, "category", category);
            if (random_.Chance(0.2))
                Text(line_, "coupon", random_.Pick(kCampaigns));
        } else if (event == "Products Searched") {
            Text(line_, "query", std::string(category).append(" ").append(random_.Pick(kLastNames)));
            Number(line_, "results", random_.Below(200));
        } else if (event == "Email Opened") {
            Text(line_, "subject", std::string("News about ").append(category));
            Number(line_, "mailing", random_.Below(40));
        } else if (event == "Video Played" || event == "Support Requested") {
            Text(line_, "topic", category);
            Number(line_, "seconds", random_.Below(600));
        } else {
            const uint64_t product = random_.Below(2000);
            Text(line_, "sku", std::string("SKU-") + std::to_string(product));
            Text(line_, "category", category);
            Money(line_, "price", 199 + product * 7);
            Text(line_, "url", std::string("https://shop.example.com/p/") + std::to_string(product));
            if (random_.Chance(0.3))
                Number(line_, "position", random_.Below(48));
        }
        if (random_.Chance(0.08))
            Text(line_, "campaign", random_.PickSkewed(kCampaigns));
        line_ += '}';
    }

    void Context(unsigned device)
    {
        line_ += '{';
        Key(line_, "ip");
        Print(line_, "\"10.%u.%u.%u\"", static_cast<unsigned>(number_ % 256),
              static_cast<unsigned>(number_ / 256 % 256), device);
        Text(line_, "locale", number_ % 4 ? "en-US" : "de-DE");
        Key(line_, "library");
        if (device == kPhone || device == kKiosk) {
            line_ += "{\"name\":\"analytics-mobile\",\"version\":\"4.1.2\"}";
            Key(line_, "device");
            if (device == kPhone)
                Print(line_, "{\"id\":\"phone-%08llx\",\"type\":\"mobile\"",
                      static_cast<unsigned long long>(Scatter(number_ + (1ull << 31))));
            else
                Print(line_, "{\"id\":\"kiosk-%llu\",\"type\":\"kiosk\"",
                      static_cast<unsigned long long>(number_ / kPeopleOfKiosk));
            Text(line_, "model", kPhones[number_ % kPhones.size()]);
            line_ += '}';
        } else {
            line_ += "{\"name\":\"analytics.js\",\"version\":\"2.11.0\"}";
            Text(line_, "userAgent", kBrowsers[(number_ + device) % kBrowsers.size()]);
        }
        line_ += '}';
    }

    void Times(uint64_t n)
    {
        const auto span = static_cast<double>(milliseconds{std::chrono::days{options_.days}}.count());
        const double left = 1.0 - static_cast<double>(n) / static_cast<double>(options_.messages);
        const Time received = options_.start - milliseconds{static_cast<int64_t>(left * span)};
        double seconds = -2.0 * std::log(1.0 - random_.Unit());
        if (random_.Chance(0.04))
            seconds = 3600.0 * 72.0 * std::pow(random_.Unit(), 3.0);  // was offline
        PrintTime(line_, received - milliseconds{static_cast<int64_t>(seconds * 1000.0)});
        line_ += '\t';
        PrintTime(line_, received);
    }

    Options options_;
    Random random_;
    std::vector<Person> people_;
    std::vector<std::string> recent_;
    std::string line_;
    uint64_t number_ = 0;  // of the person now speaking
};

uint64_t ParseNumber(std::string_view name, std::string_view text)
{
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value == 0)
        throw std::invalid_argument(std::string(name) + " wants a number above 0");
    return value;
}

/// 2025-01-31 or 2025-01-31T12:00:00, UTC.
Time ParseTime(const std::string& text)
{
    std::tm parts{};
    const char* rest = strptime(text.c_str(), text.size() > 10 ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d", &parts);
    if (rest == nullptr || *rest != '\0')
        throw std::invalid_argument("--start wants YYYY-MM-DD or YYYY-MM-DDThh:mm:ss");
    return std::chrono::floor<milliseconds>(Clock::from_time_t(timegm(&parts)));
}

Options ParseOptions(int argc, char** argv)
{
    Options options;
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 == argc)
            throw std::invalid_argument(name + " wants a value");
        const std::string value = argv[i + 1];
        if (name == "--messages")
            options.messages = ParseNumber(name, value);
        else if (name == "--people")
            options.people = ParseNumber(name, value);
        else if (name == "--stride")
            options.stride = ParseNumber(name, value);
        else if (name == "--seed")
            options.seed = ParseNumber(name, value);
        else if (name == "--days")
            options.days = ParseNumber(name, value);
        else if (name == "--start")
            options.start = ParseTime(value);
        else
            throw std::invalid_argument("unknown option " + name);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv)
try {
    const Options options = ParseOptions(argc, argv);
    Traffic traffic(options);
    std::ios::sync_with_stdio(false);
    for (uint64_t n = 0; n < options.messages; ++n)
        std::cout << traffic.Message(n);
    std::cout.flush();
    if (!std::cout)
        throw std::runtime_error("cannot write");
    return 0;
} catch (const std::exception& error) {
    std::cerr << "generate: " << error.what() << '\n'
              << "usage: generate [--messages n] [--people n] [--stride n] [--seed n] [--days n] [--start time]\n";
    return 1;
}
