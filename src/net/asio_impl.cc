// The one home of Asio's compiled half (BOOST_ASIO_SEPARATE_COMPILATION is defined for all).
#include <boost/asio/impl/src.hpp>
