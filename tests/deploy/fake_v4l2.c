/* A V4L2 camera for tests, preloaded into a program (LD_PRELOAD): /dev/video9.

   It fills the buffers that the program has queued at its frame rate, as a driver does: a program
   that is slower than the camera gets the oldest filled buffer. Frames are grey; their grey level is
   the frame's number. The file FAKE_V4L2_LOG gets the time of every frame that the program takes.
   FAKE_V4L2 is one of

     camera     delivers frames; those of the format MJPG are the file FAKE_V4L2_JPEG
     stalls     delivers 5 frames, then the driver hangs
     hangs      hangs in open()
     forbidden  open() fails with EACCES
     busy       another program streams
     metadata   a metadata node of a camera
     gone       delivers 5 frames, then is unplugged
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { kBuffers = 32, kBytes = 1 << 20, kLast = 5 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int is_fake[1024], memory = -1;
static unsigned width = 640, height = 480, format = V4L2_PIX_FMT_YUYV, rate = 30;
static int queued[kBuffers], queued_count, filled[kBuffers], filled_count;
static double filled_at[kBuffers], next_at;
static unsigned number, filled_number[kBuffers], filled_bytes[kBuffers];

static int mode_is(const char* mode) {
  const char* value = getenv("FAKE_V4L2");
  return value != NULL && strcmp(value, mode) == 0;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void wait_until(double at) {
  struct timespec time = {(time_t)at, (long)(1e9 * (at - (double)(time_t)at))};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int fail(int error) {
  errno = error;
  return -1;
}

static unsigned write_frame(int buffer) {
  static unsigned char bytes[kBytes];
  if (format == V4L2_PIX_FMT_MJPEG) {
    const int file = open(getenv("FAKE_V4L2_JPEG"), O_RDONLY);
    const ssize_t count = read(file, bytes, kBytes);
    close(file);
    return (unsigned)pwrite(memory, bytes, (size_t)count, (off_t)buffer * kBytes);
  }
  const unsigned count = 2 * width * height;
  memset(bytes, 128, count); /* Y U Y V */
  for (unsigned i = 0; i < count; i += 2) bytes[i] = (unsigned char)(16 + number % 200);
  return (unsigned)pwrite(memory, bytes, count, (off_t)buffer * kBytes);
}

/* Fills the queued buffers with the frames taken until now. Without a buffer a frame is lost. */
static void advance(void) {
  for (; next_at > 0 && next_at <= now(); next_at += 1.0 / rate, ++number) {
    if (queued_count == 0) continue;
    const int buffer = queued[0];
    memmove(queued, queued + 1, sizeof *queued * (size_t)--queued_count);
    filled_at[buffer] = next_at;
    filled_number[buffer] = number;
    filled_bytes[buffer] = write_frame(buffer);
    filled[filled_count++] = buffer;
  }
}

static int dequeue(struct v4l2_buffer* buffer) {
  if (next_at == 0) return fail(EINVAL);
  for (;;) {
    pthread_mutex_lock(&lock);
    advance();
    if (filled_count > 0) break;
    const double at = next_at;
    pthread_mutex_unlock(&lock);
    wait_until(at);
  }
  const int index = filled[0];
  memmove(filled, filled + 1, sizeof *filled * (size_t)--filled_count);
  pthread_mutex_unlock(&lock);
  if (filled_number[index] >= kLast && mode_is("stalls")) pause();
  if (filled_number[index] >= kLast && mode_is("gone")) return fail(ENODEV);
  buffer->index = (unsigned)index;
  buffer->sequence = filled_number[index];
  buffer->length = kBytes;
  buffer->bytesused = filled_bytes[index];
  buffer->flags = V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  buffer->timestamp.tv_sec = (time_t)filled_at[index];
  buffer->timestamp.tv_usec =
      (suseconds_t)(1e6 * (filled_at[index] - (double)buffer->timestamp.tv_sec));
  if (getenv("FAKE_V4L2_LOG") != NULL) {
    FILE* log = fopen(getenv("FAKE_V4L2_LOG"), "a");
    fprintf(log, "%.6f\n", filled_at[index]);
    fclose(log);
  }
  return 0;
}

static void set_format(struct v4l2_pix_format* pixels) {
  if (pixels->width == 320 && pixels->height == 240) {
    width = 320, height = 240;
  } else {
    width = 640, height = 480; /* The largest size there is. */
  }
  const int has_jpeg = getenv("FAKE_V4L2_JPEG") != NULL;
  format = pixels->pixelformat == V4L2_PIX_FMT_MJPEG && has_jpeg ? V4L2_PIX_FMT_MJPEG
                                                                 : V4L2_PIX_FMT_YUYV;
}

static void get_format(struct v4l2_pix_format* pixels) {
  pixels->width = width, pixels->height = height, pixels->pixelformat = format;
  pixels->field = V4L2_FIELD_NONE;
  pixels->bytesperline = 2 * width, pixels->sizeimage = kBytes;
  pixels->colorspace = V4L2_COLORSPACE_SRGB;
}

static int video_ioctl(unsigned long request, void* data) {
  switch (request) {
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability* found = data;
      memset(found, 0, sizeof *found);
      strcpy((char*)found->driver, "fake");
      strcpy((char*)found->card, "Fake camera");
      found->device_caps = V4L2_CAP_STREAMING |
                           (mode_is("metadata") ? V4L2_CAP_META_CAPTURE : V4L2_CAP_VIDEO_CAPTURE);
      /* All nodes of a camera together: a metadata node must be told by device_caps. */
      found->capabilities = found->device_caps | V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_DEVICE_CAPS;
      return 0;
    }
    case VIDIOC_ENUMINPUT: {
      struct v4l2_input* input = data;
      if (input->index > 0) return fail(EINVAL);
      input->type = V4L2_INPUT_TYPE_CAMERA;
      return 0;
    }
    case VIDIOC_G_INPUT:
      *(int*)data = 0;
      return 0;
    case VIDIOC_S_INPUT:
      return 0;
    case VIDIOC_S_FMT:
      if (mode_is("busy")) return fail(EBUSY);
      if (mode_is("metadata")) return fail(EINVAL);
      set_format(&((struct v4l2_format*)data)->fmt.pix);
      get_format(&((struct v4l2_format*)data)->fmt.pix);
      return 0;
    case VIDIOC_G_FMT:
      get_format(&((struct v4l2_format*)data)->fmt.pix);
      return 0;
    case VIDIOC_S_PARM: {
      struct v4l2_fract* time = &((struct v4l2_streamparm*)data)->parm.capture.timeperframe;
      const unsigned wanted = time->numerator ? time->denominator / time->numerator : rate;
      rate = wanted <= 10 ? 10 : 30;
    } /* Falls through. */
    case VIDIOC_G_PARM: {
      struct v4l2_captureparm* capture = &((struct v4l2_streamparm*)data)->parm.capture;
      capture->capability = V4L2_CAP_TIMEPERFRAME;
      capture->timeperframe.numerator = 1;
      capture->timeperframe.denominator = rate;
      return 0;
    }
    case VIDIOC_REQBUFS: {
      struct v4l2_requestbuffers* buffers = data;
      if (mode_is("busy")) return fail(EBUSY);
      if (mode_is("metadata")) return fail(EINVAL);
      if (buffers->count > kBuffers) buffers->count = kBuffers;
      queued_count = filled_count = 0;
      return ftruncate(memory, (off_t)kBuffers * kBytes);
    }
    case VIDIOC_QUERYBUF: {
      struct v4l2_buffer* buffer = data;
      buffer->m.offset = buffer->index * kBytes;
      buffer->length = kBytes;
      return 0;
    }
    case VIDIOC_QBUF:
      queued[queued_count++] = (int)((struct v4l2_buffer*)data)->index;
      return 0;
    case VIDIOC_STREAMON:
      next_at = now() + 1.0 / rate;
      number = 0;
      return 0;
    case VIDIOC_STREAMOFF:
      next_at = 0;
      queued_count = filled_count = 0;
      return 0;
    default:
      return fail(EINVAL);
  }
}

static int open_fake(void) {
  if (mode_is("hangs")) pause();
  if (mode_is("forbidden")) return fail(EACCES);
  if (memory < 0) memory = memfd_create("fake_v4l2", 0);
  const int descriptor = dup(memory);
  is_fake[descriptor] = 1;
  return descriptor;
}

static int open_real(const char* name, const char* path, int flags, va_list more) {
  if (strcmp(path, "/dev/video9") == 0) return open_fake();
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
  int (*real)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, name);
  return real(path, flags, mode);
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int descriptor = open_real("open", path, flags, more);
  va_end(more);
  return descriptor;
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int descriptor = open_real("open64", path, flags, more);
  va_end(more);
  return descriptor;
}

int ioctl(int descriptor, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void* data = va_arg(more, void*);
  va_end(more);
  if (_IOC_TYPE(request) == 'V' && descriptor >= 0 && descriptor < 1024 && is_fake[descriptor]) {
    request &= 0xffffffff; /* A caller may have extended its sign. */
    if (request == VIDIOC_DQBUF) return dequeue(data);
    pthread_mutex_lock(&lock);
    advance();
    const int done = video_ioctl(request, data);
    pthread_mutex_unlock(&lock);
    return done;
  }
  int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
  return real(descriptor, request, data);
}
